/** Element types by their names in ONNX's documentation, lower case. */
export type DType =
  "float32" | "float64" | "float16" | "bfloat16" | "int64" | "int32" | "int8" | "uint8" | "bool";

/** The arrays that tensors lie in; Uint16Array holds the bits of float16 and bfloat16. */
export type TypedArray =
  Float32Array | Float64Array | Uint16Array | BigInt64Array | Int32Array | Int8Array | Uint8Array;

interface DTypeFacts {
  readonly bytes: number;
  /** TensorProto.DataType of onnx.proto, which is also ONNXTensorElementDataType of the C API. */
  readonly onnx: number;
  /** The name in a safetensors header. */
  readonly safetensors: string;
  readonly array: new (buffer: ArrayBufferLike, byteOffset: number, length: number) => TypedArray;
}

/** float16 and bfloat16 are held as their bits, in a Uint16Array; see half.ts. */
export const dtypes: Readonly<Record<DType, DTypeFacts>> = {
  float32: { bytes: 4, onnx: 1, safetensors: "F32", array: Float32Array },
  float64: { bytes: 8, onnx: 11, safetensors: "F64", array: Float64Array },
  float16: { bytes: 2, onnx: 10, safetensors: "F16", array: Uint16Array },
  bfloat16: { bytes: 2, onnx: 16, safetensors: "BF16", array: Uint16Array },
  int64: { bytes: 8, onnx: 7, safetensors: "I64", array: BigInt64Array },
  int32: { bytes: 4, onnx: 6, safetensors: "I32", array: Int32Array },
  int8: { bytes: 1, onnx: 3, safetensors: "I8", array: Int8Array },
  uint8: { bytes: 1, onnx: 2, safetensors: "U8", array: Uint8Array },
  bool: { bytes: 1, onnx: 9, safetensors: "BOOL", array: Uint8Array },
};

/** Whether a dtype is one of floating-point numbers. */
export const isFloat = (dtype: DType): boolean =>
  dtype === "float32" || dtype === "float64" || dtype === "float16" || dtype === "bfloat16";

/** A zeroed array that holds `length` elements of `dtype`. */
export const allocate = (dtype: DType, length: number): TypedArray => {
  const { array, bytes } = dtypes[dtype];
  return new array(new ArrayBuffer(length * bytes), 0, length);
};

/** The product of the sizes: 1 for a scalar, 0 where an axis is empty. */
export const elementCount = (shape: readonly number[]): number => shape.reduce((n, d) => n * d, 1);
