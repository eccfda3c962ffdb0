// Biases of convolutions and linear maps: added to a picture's channels, with what else comes to it,
// and their gradients, which are sums over samples and pixels or over rows. Biases and their
// gradients are f32. Every sum has a fixed order.
#include "common.cuh"

// y [samples, channels, pixels] += bias [channels] + shift [samples, channels] + residual, which is
// like y; each of them may be null. The grid's x axis counts samples * channels, its y axis shares the
// pixels.
template <typename T>
__device__ void add_to_channels(T *y, const float *bias, const T *shift, const T *residual, int channels, int pixels) {
    float b = bias ? bias[blockIdx.x % channels] : 0.0f;
    if (shift) b += widen(shift[blockIdx.x]);
    y += (u64)blockIdx.x * pixels;
    if (residual) residual += (u64)blockIdx.x * pixels;
    const int packs = aligned(y) && aligned(residual) ? pixels / Pack<T>::N : 0;
    const int first = blockIdx.y * blockDim.x + threadIdx.x, stride = gridDim.y * blockDim.x;
    for (int i = first; i < packs; i += stride) {
        Pack<T> values = ((const Pack<T> *)y)[i];
        const Pack<T> others = residual ? ((const Pack<T> *)residual)[i] : values;
#pragma unroll
        for (int j = 0; j < Pack<T>::N; j++) {
            const float v = widen(values.v[j]) + b;
            values.v[j] = narrow<T>(residual ? v + widen(others.v[j]) : v);
        }
        ((Pack<T> *)y)[i] = values;
    }
    for (int i = packs * Pack<T>::N + first; i < pixels; i += stride) {
        const float v = widen(y[i]) + b;
        y[i] = narrow<T>(residual ? v + widen(residual[i]) : v);
    }
}

// sums [channels] = the sum of x [samples, channels, pixels]; one block of 256 threads for each
// channel.
template <typename T>
__device__ void sum_channels(float *sums, const T *x, int samples, int channels, int pixels) {
    __shared__ float partial[256];
    float sum = 0.0f;
    for (int s = 0; s < samples; s++) {
        const T *plane = x + ((size_t)s * channels + blockIdx.x) * pixels;
        for (int i = threadIdx.x; i < pixels; i += 256) sum += widen(plane[i]);
    }
    partial[threadIdx.x] = sum;
    for (unsigned half = 128; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) partial[threadIdx.x] += partial[threadIdx.x + half];
    }
    if (threadIdx.x == 0) sums[blockIdx.x] = partial[0];
}

// sums [gridDim.y, columns] of x [rows, columns]: block y sums its share of `share` rows; 32 x 8
// threads for 32 columns.
template <typename T>
__device__ void sum_rows(float *sums, const T *x, int rows, int columns, int share) {
    __shared__ float partial[8][33];
    const int column = blockIdx.x * 32 + threadIdx.x;
    const int first = blockIdx.y * share, end = min(rows, first + share);
    float sum = 0.0f;
    if (column < columns) {
        for (int r = first + threadIdx.y; r < end; r += 8) sum += widen(x[(size_t)r * columns + column]);
    }
    partial[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y == 0 && column < columns) {
        for (int i = 1; i < 8; i++) sum += partial[i][threadIdx.x];
        sums[(size_t)blockIdx.y * columns + column] = sum;
    }
}

#define BIAS(T, SUFFIX)                                                                                              \
    extern "C" __global__ void add_to_channels_##SUFFIX(T *y, const float *bias, const T *shift, const T *residual,  \
                                                        int channels, int pixels) {                                  \
        add_to_channels<T>(y, bias, shift, residual, channels, pixels);                                              \
    }                                                                                                                \
    extern "C" __global__ void sum_channels_##SUFFIX(float *sums, const T *x, int samples, int channels, int pixels) { \
        sum_channels<T>(sums, x, samples, channels, pixels);                                                         \
    }                                                                                                                \
    extern "C" __global__ void sum_rows_##SUFFIX(float *sums, const T *x, int rows, int columns, int share) {        \
        sum_rows<T>(sums, x, rows, columns, share);                                                                  \
    }
KERNELS(BIAS)
