throw new Error("Cannot load onnxruntime-web: it is left out, since hira runs in Node alone");
