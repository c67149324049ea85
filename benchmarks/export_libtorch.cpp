// A TorchScript model called from C++, with arrays as the runner's fn_array: for benchmarks/export_native.py.
#include <torch/script.h>

#include <cstring>

struct Array {
  int dtype;
  int32_t rank;
  int64_t shape[32];
  void* data;
  size_t bytes;
};

extern "C" torch::jit::Module* model_open(const char* path) {
  auto* model = new torch::jit::Module(torch::jit::load(path));
  model->eval();
  return model;
}

extern "C" int model_call(torch::jit::Module* model, const Array* in, Array* out) {
  c10::InferenceMode inference;
  auto dtype = in->dtype == 4 ? torch::kInt32 : torch::kFloat32;
  auto x = torch::from_blob(in->data, at::IntArrayRef(in->shape, in->rank), dtype);
  auto y = model->forward({x}).toTensor().contiguous();
  if (y.nbytes() != out->bytes) return 1;
  std::memcpy(out->data, y.data_ptr(), out->bytes);
  return 0;
}
