// An LSTM layer of one direction in inference on a CPU, from the weights of torch's nn.LSTM: it
// gives what that gives (arXiv 1503.04069, section II, without peepholes). torch 1.13 takes a
// frame's gates through some ten operations; in streams of small pieces their calls cost more than
// a small layer's products.
//
// Letters: S frames, B streams, D inputs, H units, G = 4 H gates: input, forget, cell, output.

#include <ATen/ATen.h>
#include <torch/library.h>

#include <cstdint>
#include <tuple>
#include <vector>

// BLAS, which libtorch_cpu brings along. Matrices are stored by columns there.
extern "C" void sgemm_(const char* transpose_a, const char* transpose_b, const int* m, const int* n,
                       const int* k, const float* alpha, const float* a, const int* lda,
                       const float* b, const int* ldb, const float* beta, float* c, const int* ldc);

namespace {

// Loops over units are compiled for several kinds of processors; the one at hand is found when the
// library is loaded.
#define FOR_EACH_PROCESSOR __attribute__((target_clones("avx512f", "arch=haswell", "default")))
#define INLINED inline __attribute__((always_inline))

// e^x to a relative 1e-7, in operations that compilers vectorise: 2^n times the Taylor series of
// what is left, at most ln 2 / 2.
INLINED float exponential(float x) {
  x = x < -87.0f ? -87.0f : x;
  x = x > 88.0f ? 88.0f : x;
  const float shifted = x * 1.44269504f + 12582912.0f;  // 1.5 x 2^23: rounds to an integer
  const float n = shifted - 12582912.0f;
  const float r = (x - n * 0.693145752f) - n * 1.42860677e-6f;
  float y = 1.0f / 5040;
  y = y * r + 1.0f / 720;
  y = y * r + 1.0f / 120;
  y = y * r + 1.0f / 24;
  y = y * r + 1.0f / 6;
  y = y * r + 0.5f;
  y = y * r + 1.0f;
  y = y * r + 1.0f;
  union {
    int32_t bits;
    float value;
  } power = {(static_cast<int32_t>(n) + 127) << 23};
  return y * power.value;
}

INLINED float sigmoid(float x) { return 1 / (1 + exponential(-x)); }
INLINED float tangent(float x) { return 1 - 2 / (1 + exponential(2 * x)); }

// Cell states (B, H) after a frame, in place, and its outputs, from gates (B, G).
FOR_EACH_PROCESSOR
void advance(int batch, int units, const float* gates, float* __restrict c, float* __restrict y) {
  for (int b = 0; b < batch; ++b) {
    const float *i = gates + 4 * b * units, *f = i + units, *g = f + units, *o = g + units;
    float *__restrict c_b = c + b * units, *__restrict y_b = y + b * units;
    for (int u = 0; u < units; ++u) {
      c_b[u] = sigmoid(f[u]) * c_b[u] + sigmoid(i[u]) * tangent(g[u]);
      y_b[u] = sigmoid(o[u]) * tangent(c_b[u]);
    }
  }
}

// c (m, n) += a (m, k) b (n, k)^T, all by rows.
void add_product(int m, int n, int k, const float* a, const float* b, float* c) {
  const float one = 1;
  sgemm_("T", "N", &n, &m, &k, &one, b, &k, a, &k, &one, c, &n);
}

const float* data_of(const at::Tensor& tensor) {
  TORCH_CHECK(tensor.is_contiguous() && tensor.scalar_type() == at::kFloat && tensor.is_cpu(),
              "lstm: a contiguous float32 tensor on the CPU is wanted");
  return tensor.data_ptr<float>();
}

// Outputs (S, B, H), last hidden and last cell states (B, H).
// weights: of the input (G, D) and recurrent (G, H), and the two biases (G).
std::tuple<at::Tensor, at::Tensor, at::Tensor> lstm(const at::Tensor& input,
                                                    const at::Tensor& hidden_before,
                                                    const at::Tensor& cell_before,
                                                    const std::vector<at::Tensor>& weights) {
  TORCH_CHECK(weights.size() == 4, "lstm: 4 weights are wanted");
  const at::Tensor x_SBD = input.contiguous(), h_BH = hidden_before.contiguous();
  const int frames = x_SBD.size(0), batch = x_SBD.size(1), inputs = x_SBD.size(2);
  const int units = h_BH.size(1);
  const at::Tensor bias_G = weights[2] + weights[3];
  at::Tensor gates_SBG = bias_G.expand({frames, batch, 4 * units}).contiguous();
  float* gates = gates_SBG.data_ptr<float>();
  add_product(frames * batch, 4 * units, inputs, data_of(x_SBD), data_of(weights[0]), gates);
  at::Tensor y_SBH = at::empty({frames, batch, units}, x_SBD.options());
  at::Tensor c_BH = cell_before.clone(at::MemoryFormat::Contiguous);
  data_of(c_BH);
  const float* h = data_of(h_BH);
  float* y = y_SBH.data_ptr<float>();
  for (int s = 0; s < frames; ++s) {
    add_product(batch, 4 * units, units, h, data_of(weights[1]), gates);
    advance(batch, units, gates, c_BH.data_ptr<float>(), y);
    h = y;
    y += batch * units;
    gates += batch * 4 * units;
  }
  return {y_SBH, frames ? y_SBH[frames - 1].clone() : h_BH.clone(), c_BH};
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(fairstream, library) {
  library.def(
      "lstm(Tensor x, Tensor hidden, Tensor cell, Tensor[] weights) -> (Tensor, Tensor, Tensor)");
}

TORCH_LIBRARY_IMPL(fairstream, CPU, library) { library.impl("lstm", lstm); }
