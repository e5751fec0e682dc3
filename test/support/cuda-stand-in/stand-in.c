// CUDA 13 without a card, for tests: ONNX Runtime's CUDA provider makes its sessions and runs on it, and no number comes out.
// Memory of the card is a range of addresses that nobody can read, with its bytes elsewhere; copies are checked for their direction
// and counted; kernels and products do nothing. Each of NVIDIA's libraries is this file, compiled with one of the names below.
// Set by the environment: STAND_IN_CARDS, STAND_IN_DRIVER (13000), STAND_IN_MIB.
#define _GNU_SOURCE
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef void *p;
typedef size_t z;

#ifdef CUDART
// Device addresses lie in a range that nobody may touch; what they hold lies as far into another one.
#define RANGE ((z)1 << 38)
static char *device, *shadow;
static int file;
static z top, live, peak;
static struct { char *at; z size; int used; } block[1 << 16];
static int blocks;
uint64_t stand_in_counters[10]; // bytes up, bytes down, copies up, copies down, launches, waits, bytes held, most bytes held, launches on stream 0, faults
static void start(void) {
  if (device) return;
  file = memfd_create("cuda-stand-in", 0);
  if (ftruncate(file, RANGE)) abort();
  device = mmap(0, RANGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  shadow = mmap(0, RANGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, file, 0);
}
static int on_device(const void *x) { return device && (char *)x >= device && (char *)x < device + RANGE; }
static void *real(const void *x) { return on_device(x) ? shadow + ((char *)x - device) : (void *)x; }
static z limit(void) { const char *text = getenv("STAND_IN_MIB"); return (text ? strtoull(text, 0, 10) : 81920) << 20; }
int cudaMalloc(p *out, z n) {
  start();
  n = (n + 511) & ~(z)511;
  if (n == 0) { *out = 0; return 0; }
  if (live + n > limit()) return 2;
  live += n;
  if (live > peak) peak = live;
  stand_in_counters[6] = live; stand_in_counters[7] = peak;
  for (int i = 0; i < blocks; i++) if (!block[i].used && block[i].size == n) { block[i].used = 1; *out = block[i].at; return 0; }
  if (top + n > RANGE || blocks == 1 << 16) return 2;
  block[blocks].at = device + top; block[blocks].size = n; block[blocks].used = 1;
  *out = block[blocks++].at; top += n;
  return 0;
}
int cudaFree(p x) {
  if (!x) return 0;
  for (int i = 0; i < blocks; i++) if (block[i].at == x && block[i].used) {
    block[i].used = 0; live -= block[i].size; stand_in_counters[6] = live;
    madvise(real(x), block[i].size, MADV_REMOVE);
    return 0;
  }
  return 1;
}
int cudaFreeAsync(p x, p s) { return cudaFree(x); }
int cudaMallocFromPoolAsync(p *out, z n, p pool, p s) { return cudaMalloc(out, n); }
int cudaHostAlloc(p *out, z n, unsigned f) { *out = aligned_alloc(4096, (n + 4095) & ~(z)4095); return *out ? 0 : 2; }
int cudaMallocHost(p *out, z n) { return cudaHostAlloc(out, n, 0); }
int cudaFreeHost(p x) { free(x); return 0; }
static int copy(p d, const void *s, z n, int kind) {
  int to = on_device(d), from = on_device(s);
  if (kind == 1 && (!to || from)) { stand_in_counters[9]++; return 1; }
  if (kind == 2 && (to || !from)) { stand_in_counters[9]++; return 1; }
  if (kind == 3 && (!to || !from)) { stand_in_counters[9]++; return 1; }
  if (to && !from) { stand_in_counters[0] += n; stand_in_counters[2]++; }
  if (!to && from) { stand_in_counters[1] += n; stand_in_counters[3]++; }
  memmove(real(d), real(s), n);
  return 0;
}
// Stream 0 waits for all others.
int cudaMemcpyAsync(p d, const void *s, z n, int kind, p st) { if (!st) stand_in_counters[5]++; return copy(d, s, n, kind); }
int cudaMemcpy(p d, const void *s, z n, int kind) { stand_in_counters[5]++; return copy(d, s, n, kind); }
int cudaMemcpy2DAsync(p d, z dp, const void *s, z sp, z w, z h, int kind, p st) { for (z i = 0; i < h; i++) copy((char *)d + i * dp, (char *)s + i * sp, w, kind); return 0; }
int cudaMemcpyFromSymbol(p d, const void *s, z n, z o, int kind) { memset(d, 0, n); return 0; }
int cudaMemset(p d, int v, z n) { if (!on_device(d)) { stand_in_counters[9]++; return 1; } memset(real(d), v, n); return 0; }
int cudaMemsetAsync(p d, int v, z n, p s) { return cudaMemset(d, v, n); }
int cudaMemGetInfo(z *f, z *t) { *t = limit(); *f = *t - live; return 0; }
int cudaPointerGetAttributes(p a, const void *x) { memset(a, 0, 24); *(int *)a = on_device(x) ? 2 : 0; ((p *)a)[1] = (p)x; return 0; }
static int cards(void) { const char *text = getenv("STAND_IN_CARDS"); return text ? atoi(text) : 1; }
static int driver(void) { const char *text = getenv("STAND_IN_DRIVER"); return text ? atoi(text) : 13000; }
int cudaGetDeviceCount(int *n) { *n = 0; if (driver() < 13000) return 35; *n = cards(); return *n ? 0 : 100; }
static int current;
int cudaGetDevice(int *n) { *n = current; return 0; }
int cudaSetDevice(int n) { if (n >= cards()) return 101; current = n; return 0; }
int cudaGetDeviceProperties(char *x, int n) {
  memset(x, 0, 1008);
  strcpy(x, "Stand-in");
  *(z *)(x + 288) = limit();
  *(z *)(x + 296) = 49152; *(int *)(x + 304) = 65536; *(int *)(x + 308) = 32;
  *(int *)(x + 320) = 1024; // maxThreadsPerBlock
  for (int i = 0; i < 3; i++) { *(int *)(x + 324 + 4 * i) = 1024; *(int *)(x + 336 + 4 * i) = 65535; }
  *(z *)(x + 352) = 65536; *(int *)(x + 360) = 9; *(int *)(x + 364) = 0;
  return 0;
}
int cudaDeviceGetAttribute(int *v, int a, int d) {
  switch (a) { case 75: *v = 9; break; case 76: *v = 0; break; case 16: *v = 132; break; case 1: *v = 1024; break; case 10: *v = 32; break;
    case 39: *v = 2048; break; case 8: *v = 49152; break; case 81: *v = 233472; break; case 97: *v = 232448; break; case 38: *v = 50 << 20; break; default: *v = 0; }
  return 0;
}
int cudaDriverGetVersion(int *v) { *v = driver(); return 0; }
int cudaRuntimeGetVersion(int *v) { *v = 13000; return 0; }
const char *cudaGetErrorName(int e) { return "an error of the stand-in"; }
const char *cudaGetErrorString(int e) { return e == 2 ? "out of memory" : e == 100 ? "no CUDA-capable device is detected" : e == 101 ? "invalid device ordinal" : "an error of the stand-in"; }
int cudaGetLastError(void) { return 0; }
int cudaPeekAtLastError(void) { return 0; }
int cudaDeviceSynchronize(void) { stand_in_counters[5]++; return 0; }
static p handle(void) { static z next = 4096; return (p)(next += 16); }
int cudaStreamCreate(p *s) { *s = handle(); return 0; }
int cudaStreamCreateWithFlags(p *s, unsigned f) { return cudaStreamCreate(s); }
int cudaStreamDestroy(p s) { return 0; }
int cudaStreamSynchronize(p s) { stand_in_counters[5]++; return 0; }
int cudaStreamWaitEvent(p s, p e, unsigned f) { return 0; }
int cudaStreamIsCapturing(p s, int *v) { *v = 0; return 0; }
int cudaStreamBeginCapture(p s, int m) { return 801; }
int cudaStreamEndCapture(p s, p *g) { return 801; }
int cudaEventCreate(p *e) { *e = handle(); return 0; }
int cudaEventCreateWithFlags(p *e, unsigned f) { return cudaEventCreate(e); }
int cudaEventDestroy(p e) { return 0; }
int cudaEventRecord(p e, p s) { return 0; }
int cudaEventSynchronize(p e) { stand_in_counters[5]++; return 0; }
int cudaEventElapsedTime(float *t, p a, p b) { *t = 0; return 0; }
int cudaFuncGetAttributes(p a, const void *f) { memset(a, 0, 64); *(int *)((char *)a + 24) = 1024; return 0; }
int cudaFuncSetAttribute(const void *f, int a, int v) { return 0; }
int cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *n, const void *f, int b, z s, unsigned fl) { *n = 2; return 0; }
int cudaKernelSetAttributeForDevice(p k, int a, int v, int d) { return 0; }
static void launched(p stream) { stand_in_counters[4]++; if (!stream) stand_in_counters[8]++; }
struct dim3 { unsigned x, y, z; };
static __thread p pushed;
int __cudaPushCallConfiguration(struct dim3 g, struct dim3 b, z s, p st) { pushed = st; return 0; }
int __cudaPopCallConfiguration(struct dim3 *g, struct dim3 *b, z *s, p *st) { memset(g, 0, 12); memset(b, 0, 12); *s = 0; *st = pushed; return 0; }
int cudaLaunchKernel(const void *f, struct dim3 g, struct dim3 b, p *a, z s, p st) { launched(st); return 0; }
int __cudaLaunchKernel(p k, struct dim3 g, struct dim3 b, p *a, z s, p st) { launched(st); return 0; }
int cudaLaunchCooperativeKernel(const void *f, struct dim3 g, struct dim3 b, p *a, z s, p st) { launched(st); return 0; }
int cudaLaunchKernelExC(p c, const void *f, p *a) { launched((p)1); return 0; }
int cudaLaunchHostFunc(p st, void (*f)(void *), p d) { f(d); return 0; }
int __cudaGetKernel(p *k, const void *f) { *k = (p)f; return 0; }
p *__cudaRegisterFatBinary(p x) { return malloc(64); }
void __cudaRegisterFatBinaryEnd(p *h) {}
void __cudaUnregisterFatBinary(p *h) {}
void __cudaRegisterFunction(p *h, const char *a, char *b, const char *c, int d, p e, p f, p g, p i, int *j) {}
void __cudaRegisterVar(p *h, char *a, char *b, const char *c, int d, z e, int f, int g) {}
int cudaGetDriverEntryPointByVersion(const char *s, p *f, unsigned v, unsigned long long fl, int *st) { *f = 0; if (st) *st = 1; return 0; }
#define NOT(n) int n(void) { return 801; }
NOT(cudaGraphDestroy) NOT(cudaGraphExecDestroy) NOT(cudaGraphInstantiate) NOT(cudaGraphLaunch) NOT(cudaLibraryGetKernel) NOT(cudaLibraryLoadData)
NOT(cudaLibraryUnload) NOT(cudaMemPoolCreate) NOT(cudaMemPoolDestroy) NOT(cudaMemPoolGetAttribute) NOT(cudaMemPoolSetAttribute) NOT(cudaMemPoolTrimTo)
#endif

#define OK(n) int n(void) { return 0; }
#ifdef CUBLAS
int cublasCreate_v2(p *h) { *h = malloc(64); return 0; }
int cublasGetMathMode(p h, int *m) { *m = 0; return 0; }
const char *cublasGetStatusName(int s) { return "stand-in"; }
const char *cublasGetStatusString(int s) { return "stand-in"; }
OK(cublasDcopy_v2) OK(cublasDestroy_v2) OK(cublasDgeam) OK(cublasDgemmBatched) OK(cublasDgemmStridedBatched) OK(cublasDgemm_v2) OK(cublasDgetrfBatched)
OK(cublasDgetriBatched) OK(cublasGemmBatchedEx) OK(cublasGemmEx) OK(cublasGemmStridedBatchedEx) OK(cublasScopy_v2) OK(cublasSetMathMode)
OK(cublasSetStream_v2) OK(cublasSgeam) OK(cublasSgemmBatched) OK(cublasSgemmStridedBatched) OK(cublasSgemm_v2) OK(cublasSgetrfBatched)
OK(cublasSgetriBatched) OK(cublasSscal_v2)
#endif
#ifdef CUBLASLT
static int make(p *h) { *h = malloc(256); return 0; }
int cublasLtCreate(p *h) { return make(h); }
int cublasLtMatmulDescCreate(p *h, int a, int b) { return make(h); }
int cublasLtMatmulPreferenceCreate(p *h) { return make(h); }
int cublasLtMatrixLayoutCreate(p *h, int a, uint64_t b, uint64_t c, int64_t d) { return make(h); }
int cublasLtMatrixTransformDescCreate(p *h, int a) { return make(h); }
int cublasLtMatmulAlgoGetHeuristic(p a, p b, p c, p d, p e, p f, p g, int n, p r, int *count) { *count = 1; memset(r, 0, 128); return 0; }
OK(cublasLtDestroy) OK(cublasLtMatmul) OK(cublasLtMatmulAlgoConfigSetAttribute) OK(cublasLtMatmulAlgoInit) OK(cublasLtMatmulDescDestroy)
OK(cublasLtMatmulDescSetAttribute) OK(cublasLtMatmulPreferenceDestroy) OK(cublasLtMatmulPreferenceSetAttribute) OK(cublasLtMatrixLayoutDestroy)
OK(cublasLtMatrixLayoutSetAttribute) OK(cublasLtMatrixTransform) OK(cublasLtMatrixTransformDescDestroy)
#endif
#ifdef CUDA
OK(cuTensorMapEncodeTiled) OK(cuInit)
#endif
#ifdef CURAND
OK(curandCreateGenerator)
#endif
