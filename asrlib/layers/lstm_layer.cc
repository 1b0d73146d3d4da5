// The recurrent part of a unidirectional LSTM layer on a CPU, its gradient, and a stack of layers
// in inference. The equations are those of torch's nn.LSTM (arXiv 1503.04069, section II, without
// peepholes).
//
// torch 1.13 calls about ten operations per frame for the gates. In a small layer these calls take
// more time than the products, and training records each of them. The stack is one operation,
// because in a stream of small pieces the calls of an interpreter take more time than small layers.
//
// Shapes: S frames, B streams, D inputs, L layers, H units, G = 4 H gates: input, forget, cell,
// output.

#include <ATen/ATen.h>
#include <torch/library.h>

#include <algorithm>
#include <cstdint>
#include <tuple>
#include <vector>

// The BLAS routine is part of libtorch_cpu. It stores matrices by columns.
extern "C" void sgemm_(const char* transpose_a, const char* transpose_b, const int* m, const int* n,
                       const int* k, const float* alpha, const float* a, const int* lda,
                       const float* b, const int* ldb, const float* beta, float* c, const int* ldc);

namespace {

// Loops over units are compiled for several kinds of processors; the loader selects the version for
// this processor.
#define FOR_EACH_PROCESSOR __attribute__((target_clones("avx512f", "arch=haswell", "default")))
#define INLINED inline __attribute__((always_inline))

// e^x with a relative error of 1e-7, in operations that compilers vectorise: 2^n times the Taylor
// series of the remainder, which is at most ln 2 / 2.
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

// One frame: applies the nonlinearities to the gates (B, G) in place and computes the cell states c
// and outputs y (B, H).
FOR_EACH_PROCESSOR
void advance(int batch, int units, float* __restrict gates, const float* __restrict c_before,
             float* __restrict c, float* __restrict y) {
  for (int b = 0; b < batch; ++b) {
    float* __restrict gates_b = gates + 4 * b * units;
    const int first = b * units;
    for (int u = 0; u < units; ++u) {
      const float i = sigmoid(gates_b[u]), f = sigmoid(gates_b[units + u]);
      const float g = tangent(gates_b[2 * units + u]), o = sigmoid(gates_b[3 * units + u]);
      const float cell = f * c_before[first + u] + i * g;
      gates_b[u] = i;
      gates_b[units + u] = f;
      gates_b[2 * units + u] = g;
      gates_b[3 * units + u] = o;
      c[first + u] = cell;
      y[first + u] = o * tangent(cell);
    }
  }
}

// One frame backwards. Computes the gradient d (B, G) of the gates before the nonlinearities, and
// replaces the gradient dc (B, H) of the cell states after the frame by that of the states before
// it. The gradient of the outputs is dy + dh, both (B, H).
FOR_EACH_PROCESSOR
void retreat(int batch, int units, const float* __restrict gates, const float* __restrict c_before,
             const float* __restrict c, const float* __restrict dy, const float* __restrict dh,
             float* __restrict dc, float* __restrict d) {
  for (int b = 0; b < batch; ++b) {
    const float* __restrict gates_b = gates + 4 * b * units;
    float* __restrict d_b = d + 4 * b * units;
    const int first = b * units;
    for (int u = 0; u < units; ++u) {
      const float i = gates_b[u], f = gates_b[units + u];
      const float g = gates_b[2 * units + u], o = gates_b[3 * units + u];
      const float out = dy[first + u] + dh[first + u], shown = tangent(c[first + u]);
      const float cell = dc[first + u] + out * o * (1 - shown * shown);
      d_b[u] = cell * g * i * (1 - i);
      d_b[units + u] = cell * c_before[first + u] * f * (1 - f);
      d_b[2 * units + u] = cell * i * (1 - g * g);
      d_b[3 * units + u] = out * shown * o * (1 - o);
      dc[first + u] = cell * f;
    }
  }
}

// c (m, n) += a (m, k) b (n, k)^T, stored by rows.
void add_product_transposed(int m, int n, int k, const float* a, const float* b, float* c) {
  const float one = 1;
  sgemm_("T", "N", &n, &m, &k, &one, b, &k, a, &k, &one, c, &n);
}

// c (m, n) = a (m, k) b (k, n), stored by rows.
void product(int m, int n, int k, const float* a, const float* b, float* c) {
  const float one = 1, zero = 0;
  sgemm_("N", "N", &n, &m, &k, &one, b, &n, a, &k, &zero, c, &n);
}

float* data_of(const at::Tensor& tensor) {
  TORCH_CHECK(tensor.is_contiguous() && tensor.scalar_type() == at::kFloat && tensor.is_cpu(),
              "lstm: a contiguous float32 tensor on the CPU is wanted");
  return tensor.data_ptr<float>();
}

// The recurrence. Takes the input's share of the gates (S, B, G), the recurrent weight (G, H) and
// the states (B, H) before the first frame. Returns outputs and cell states (S + 1, B, H), the initial
// ones first, and the gates after the nonlinearities.
std::tuple<at::Tensor, at::Tensor, at::Tensor> lstm(const at::Tensor& given,
                                                    const at::Tensor& weight_GH,
                                                    const at::Tensor& h_BH,
                                                    const at::Tensor& c_BH) {
  const at::Tensor gates_SBG = given.contiguous();
  const int frames = gates_SBG.size(0), batch = h_BH.size(0), units = h_BH.size(1);
  const int64_t states = batch * units, gates = 4 * states;
  const at::Tensor opened_SBG = at::empty_like(gates_SBG);
  const at::Tensor y = at::empty({frames + 1, batch, units}, gates_SBG.options());
  const at::Tensor c = at::empty_like(y);
  y[0].copy_(h_BH);
  c[0].copy_(c_BH);
  const float *from = data_of(gates_SBG), *weight = data_of(weight_GH);
  float *opened = data_of(opened_SBG), *y_s = data_of(y), *c_s = data_of(c);
  for (int s = 0; s < frames; ++s) {
    std::copy_n(from, gates, opened);
    add_product_transposed(batch, 4 * units, units, y_s, weight, opened);
    advance(batch, units, opened, c_s, c_s + states, y_s + states);
    from += gates;
    opened += gates;
    y_s += states;
    c_s += states;
  }
  return {y, c, opened_SBG};
}

// The gradient of the recurrence. Takes the gradients of the outputs (S, B, H) and of the last
// states (B, H). Returns the gradients of the input's share of the gates (S, B, G) and of the
// states before the first frame (B, H).
std::tuple<at::Tensor, at::Tensor, at::Tensor> lstm_backward(
    const at::Tensor& dy, const at::Tensor& dh_last, const at::Tensor& dc_last,
    const at::Tensor& weight_GH, const at::Tensor& opened_SBG, const at::Tensor& c) {
  const at::Tensor dy_SBH = dy.contiguous();
  const at::Tensor dh_BH = dh_last.clone(at::MemoryFormat::Contiguous);
  const at::Tensor dc_BH = dc_last.clone(at::MemoryFormat::Contiguous);
  const int frames = opened_SBG.size(0), batch = c.size(1), units = c.size(2);
  const int64_t states = batch * units, gates = 4 * states;
  const at::Tensor d_SBG = at::empty_like(opened_SBG);
  const float *from = data_of(dy_SBH), *opened = data_of(opened_SBG), *cells = data_of(c);
  const float* weight = data_of(weight_GH);
  float *d = data_of(d_SBG), *dh = data_of(dh_BH), *dc = data_of(dc_BH);
  for (int s = frames - 1; s >= 0; --s) {
    retreat(batch, units, opened + s * gates, cells + s * states, cells + (s + 1) * states,
            from + s * states, dh, dc, d + s * gates);
    product(batch, units, 4 * units, d + s * gates, weight, dh);
  }
  return {d_SBG, dh_BH, dc_BH};
}

// A stack of layers in inference. Takes inputs (S, B, D) and states (L, B, H) before the first
// frame. Returns outputs (S, B, H) and the states after the last frame.
// weights of each layer: LayerNorm (2, if `norm`), input weight, recurrent weight, both biases.
// residual: whether a layer's input is added to its output where their sizes agree.
std::tuple<at::Tensor, at::Tensor, at::Tensor> lstm_stack(const at::Tensor& input,
                                                          const at::Tensor& h_LBH,
                                                          const at::Tensor& c_LBH,
                                                          const std::vector<at::Tensor>& weights,
                                                          bool norm, bool residual) {
  const int64_t layers = h_LBH.size(0), each = norm ? 6 : 4;
  TORCH_CHECK(static_cast<int64_t>(weights.size()) == layers * each,
              "lstm_stack: ", each, " weights a layer are wanted");
  const at::Tensor h_next = at::empty_like(h_LBH), c_next = at::empty_like(c_LBH);
  at::Tensor x = input;
  for (int64_t l = 0; l < layers; ++l) {
    const at::Tensor* w = weights.data() + l * each;
    const at::Tensor normed = norm ? at::layer_norm(x, {x.size(2)}, w[0], w[1]) : x;
    if (norm) w += 2;
    const at::Tensor gates = at::linear(normed, w[0], w[2] + w[3]);
    const auto [y, c, opened] = lstm(gates, w[1], h_LBH[l], c_LBH[l]);
    h_next[l].copy_(y[-1]);
    c_next[l].copy_(c[-1]);
    const at::Tensor out = y.slice(0, 1);
    x = residual && x.size(2) == out.size(2) ? out + x : out;
  }
  return {x, h_next, c_next};
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(fairstream, library) {
  library.def(
      "lstm_stack(Tensor x, Tensor hidden, Tensor cell, Tensor[] weights, bool norm, "
      "bool residual) -> (Tensor, Tensor, Tensor)");
  library.def(
      "lstm(Tensor gates, Tensor weight, Tensor hidden, Tensor cell) -> (Tensor, Tensor, Tensor)");
  library.def(
      "lstm_backward(Tensor outputs, Tensor hidden, Tensor cell, Tensor weight, Tensor opened, "
      "Tensor cells) -> (Tensor, Tensor, Tensor)");
}

TORCH_LIBRARY_IMPL(fairstream, CPU, library) {
  library.impl("lstm_stack", lstm_stack);
  library.impl("lstm", lstm);
  library.impl("lstm_backward", lstm_backward);
}
