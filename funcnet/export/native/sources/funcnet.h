/* Run models that funcnet.export.save wrote, in C or C++ and without Python.
 *
 * An artifact holds portable StableHLO and weights. What compiles and runs it is a PJRT plugin: a shared library for CPUs
 * (`pip download xla-cpu-pjrt` has one) or for a GPU (`jax-cuda13-pjrt`). The same program takes either.
 *
 *     fn_device *device;                   one plugin, one device
 *     fn_model *model;                     one artifact; its weights lie on the device once, for all its functions
 *     fn_call(model, "call", ...)          host arrays in, host arrays out
 *     fn_run(model, "step", ...)           tensors in, tensors out: what stays on the device, such as a cache
 *
 * Errors: every function that can fail returns an fn_code, and fn_error() gives a sentence that says what was expected and
 * what came. Nothing is thrown, printed or aborted. On an error nothing that the caller passed in has changed hands.
 *
 * Threads: fn_call, fn_run and all queries may be used on one model by any number of threads at once. Opening and closing
 * belong to one thread, and what is closed must no longer be in use. A device outlives its models and tensors.
 *
 * Memory: data that are passed in are copied or done with before a function returns. What a function hands out lives until
 * the function that its comment names is called.
 */
#ifndef FUNCNET_H_
#define FUNCNET_H_

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define FN_API
#else
#define FN_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef enum fn_code {
  FN_OK = 0,
  FN_ARGUMENT = 1, /* a null pointer, a wrong number of inputs, a buffer that is too small */
  FN_FILE = 2,     /* the file cannot be read */
  FN_FORMAT = 3,   /* the file is no artifact, is damaged, or is of a later format */
  FN_PLUGIN = 4,   /* the plugin cannot be loaded or has no device */
  FN_NAME = 5,     /* the model has no such function */
  FN_SHAPE = 6,    /* an input has another shape, or none of the compiled sizes fits */
  FN_DTYPE = 7,    /* an input has another dtype */
  FN_COMPILE = 8,  /* the plugin refuses the program */
  FN_EXECUTE = 9,  /* the plugin could not run it or move data */
  FN_MEMORY = 10   /* out of memory */
} fn_code;

typedef enum fn_dtype {
  FN_INVALID = 0,
  FN_BOOL, /* one byte, 0 or 1 */
  FN_I8, FN_I16, FN_I32, FN_I64,
  FN_U8, FN_U16, FN_U32, FN_U64,
  FN_F16, FN_BF16, FN_F32, FN_F64,
  FN_F8_E4M3, FN_F8_E5M2, FN_F8_E4M3FNUZ, FN_F8_E5M2FNUZ, FN_F8_E8M0,
  FN_C64 /* two F32: the real part, the imaginary part */
} fn_dtype;

#define FN_MOST_AXES 32

/* An array in the caller's memory, dense, the last axis fastest. A scalar has rank 0 and one number. */
typedef struct fn_array {
  fn_dtype dtype;
  int32_t rank;
  int64_t shape[FN_MOST_AXES];
  void *data;
  size_t bytes; /* the size of data */
} fn_array;

/* What a function takes or gives. Texts live as long as the model. */
typedef struct fn_spec {
  const char *name;
  const char *text; /* as people write it: "F32[batch, 3]" */
  fn_dtype dtype;
  int32_t rank;
  int64_t shape[FN_MOST_AXES];  /* -1: the length is open; see text */
} fn_spec;

typedef struct fn_device fn_device;
typedef struct fn_model fn_model;
typedef struct fn_tensor fn_tensor;

/* The sentence of the last error in this thread. It lives until the next error in this thread. */
FN_API const char *fn_error(void);

/* ---- devices --------------------------------------------------------------------------------------------------------- */

/* Load a plugin and take its first device.
 *   plugin:  path of the shared library; NULL reads the environment variable FUNCNET_PJRT_PLUGIN.
 *   options: what this plugin's client takes, or NULL: "preallocate=false,memory_fraction=0.5,visible_devices=[0;1]".
 *            true and false, whole numbers, numbers with a point, lists of whole numbers; everything else is text.
 *            CUDA takes 75 % of the GPU's memory at once unless preallocate=false. CPU plugins get cpu_device_count=1 unless
 *            another is given: their own default, 4, makes them slower on fewer cores.
 * A plugin stays loaded until the process ends. A GPU should be opened once in a process. */
FN_API fn_code fn_device_open(const char *plugin, const char *options, fn_device **device);
FN_API void fn_device_close(fn_device *device);
/* Its platform, such as "cpu" or "cuda", and what the plugin says of its version. They live as long as the device. */
FN_API const char *fn_device_platform(const fn_device *device);
FN_API const char *fn_device_version(const fn_device *device);

/* ---- models ---------------------------------------------------------------------------------------------------------- */

/* Open an artifact: check all of it, and copy its weights to the device. The file is not needed afterwards. */
FN_API fn_code fn_model_open(fn_device *device, const char *path, fn_model **model);
FN_API void fn_model_close(fn_model *model);
FN_API const char *fn_model_name(const fn_model *model);
/* The text that the artifact's metadata have under a key; NULL if there is none. */
FN_API const char *fn_model_metadata(const fn_model *model, const char *key);
/* The names of functions, 0 to count - 1 in the file's order; NULL beyond. */
FN_API size_t fn_function_count(const fn_model *model);
FN_API const char *fn_function_name(const fn_model *model, size_t index);
/* Of the function called name; NULL is enough where there is one only. */
FN_API fn_code fn_function_arity(const fn_model *model, const char *name, size_t *inputs, size_t *outputs);
FN_API fn_code fn_function_input(const fn_model *model, const char *name, size_t index, fn_spec *spec);
FN_API fn_code fn_function_output(const fn_model *model, const char *name, size_t index, fn_spec *spec);

/* ---- calls ----------------------------------------------------------------------------------------------------------- */

/* Call a function. Of the programs in the file, the one whose sizes give exactly the inputs' shapes is compiled at its first
 * use, which may take seconds, and kept.
 *   inputs:  in the function's order; data are read before the call returns and never written.
 *   outputs: filled in: dtype, rank, shape, bytes and numbers. Where data is NULL the library allocates it, and fn_array_free
 *            frees it; otherwise data has room for `bytes`, and a call with too little of it is refused. Zero-fill arrays
 *            that are not used yet (`fn_array output = {0}`). On an error the outputs are as they were, except for numbers
 *            in memory of the caller. */
FN_API fn_code fn_call(fn_model *model, const char *name, const fn_array *inputs, size_t input_count, fn_array *outputs,
                       size_t output_count);
FN_API void fn_array_free(fn_array *array);

/* Compile what inputs of these shapes will need, so that the first call is as quick as the next. Data are not looked at. */
FN_API fn_code fn_prepare(fn_model *model, const char *name, const fn_array *inputs, size_t input_count);

/* The same with arrays that lie on the device, and stay there: an output may be the input of the next call. Outputs are new
 * tensors, each freed by fn_tensor_free; the run is over when fn_run returns. */
FN_API fn_code fn_run(fn_model *model, const char *name, const fn_tensor *const *inputs, size_t input_count,
                      fn_tensor **outputs, size_t output_count);
/* Copy an array to the device, and back: fn_tensor_read treats its array as fn_call treats outputs. */
FN_API fn_code fn_tensor_new(fn_device *device, const fn_array *array, fn_tensor **tensor);
FN_API fn_code fn_tensor_read(const fn_tensor *tensor, fn_array *array);
FN_API void fn_tensor_free(fn_tensor *tensor);

/* The bytes of one number, 0 for FN_INVALID, and the name, such as "F32". */
FN_API size_t fn_dtype_bytes(fn_dtype dtype);
FN_API const char *fn_dtype_name(fn_dtype dtype);

#ifdef __cplusplus
}
#endif

#endif /* FUNCNET_H_ */
