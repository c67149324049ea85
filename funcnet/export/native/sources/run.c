/* Describe an artifact, or call one of its functions:
 *
 *   funcnet_run MODEL                                            what there is
 *   funcnet_run MODEL FUNCTION 2,1,28,28:images.bin --out DIR    one argument an input: its shape, and a file of its
 * bytes; without a file it is filled with zeros, "()" is a scalar
 *   ... --times 100                                              call it so often and print the median
 *   ... --plugin FILE --options preallocate=false                else the environment variable FUNCNET_PJRT_PLUGIN
 *
 * Outputs are written to DIR/0.bin, DIR/1.bin and so on; of each the first numbers are printed. */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "funcnet.h"

enum { MOST_ARRAYS = 4096 };

static int failed(void) {
  fprintf(stderr, "%s\n", fn_error());
  return 1;
}

static int wrong(const char* sentence, const char* what) {
  fprintf(stderr, "%s %s\n", sentence, what);
  return 2;
}

static int describe(const fn_model* model) {
  fn_spec spec;
  size_t inputs, outputs;
  printf("%s\n", fn_model_name(model));
  for (size_t i = 0; i < fn_function_count(model); ++i) {
    const char* name = fn_function_name(model, i);
    if (fn_function_arity(model, name, &inputs, &outputs)) return failed();
    printf("%s\n", name);
    for (size_t k = 0; k < inputs + outputs; ++k) {
      fn_code code =
          k < inputs ? fn_function_input(model, name, k, &spec) : fn_function_output(model, name, k - inputs, &spec);
      if (code) return failed();
      printf("  %s %s: %s\n", k < inputs ? "takes" : "gives", spec.name, spec.text);
    }
  }
  return 0;
}

/* Read "2,1,28,28:images.bin" as the input that spec describes. */
static int read_input(const char* text, const fn_spec* spec, fn_array* array) {
  char* end = NULL;
  memset(array, 0, sizeof *array);
  array->dtype = spec->dtype;
  array->bytes = fn_dtype_bytes(spec->dtype);
  if (strncmp(text, "()", 2) == 0) {
    text += 2;
  } else {
    do {
      if (array->rank == FN_MOST_AXES) return wrong("too many axes:", text);
      array->shape[array->rank] = strtoll(text, &end, 10);
      if (end == text || array->shape[array->rank] < 0 || array->shape[array->rank] > 1 << 30)
        return wrong("no shape:", text);
      array->bytes *= (size_t)array->shape[array->rank++];
      text = end + (*end == ',');
    } while (*end == ',');
  }
  array->data = calloc(array->bytes + 1, 1);
  if (!array->data) return wrong("no memory for", text);
  if (*text == '\0') return 0;
  if (*text != ':') return wrong("expected SHAPE or SHAPE:FILE, got", text);
  FILE* file = fopen(text + 1, "rb");
  if (!file) return wrong("cannot read", text + 1);
  size_t got = fread(array->data, 1, array->bytes + 1, file);
  fclose(file);
  return got == array->bytes ? 0 : wrong("of another size than its shape:", text + 1);
}

static int write_output(const char* folder, size_t index, const fn_array* array) {
  char path[4096];
  snprintf(path, sizeof path, "%s/%zu.bin", folder, index);
  FILE* file = fopen(path, "wb");
  if (!file) return wrong("cannot write", path);
  size_t put = fwrite(array->data, 1, array->bytes, file);
  return fclose(file) == 0 && put == array->bytes ? 0 : wrong("cannot write all of", path);
}

static void print_output(const char* text, const fn_array* array) {
  size_t count = array->bytes / fn_dtype_bytes(array->dtype);
  printf("%s:", text);
  for (size_t i = 0; i < count && i < 8; ++i) {
    if (array->dtype == FN_F32)
      printf(" %g", (double)((float*)array->data)[i]);
    else if (array->dtype == FN_I32)
      printf(" %d", ((int32_t*)array->data)[i]);
    else {
      printf(" ...");
      break;
    }
  }
  printf("\n");
}

static int by_size(const void* a, const void* b) {
  double x = *(const double*)a, y = *(const double*)b;
  return (x > y) - (x < y);
}

static double seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

int main(int count, char** words) {
  static fn_array inputs[MOST_ARRAYS], outputs[MOST_ARRAYS];
  const char *plugin = NULL, *options = NULL, *folder = NULL, *plain[MOST_ARRAYS + 2];
  size_t given = 0, takes, gives;
  long times = 0;
  for (int i = 1; i < count; ++i) {
    if (strncmp(words[i], "--", 2) == 0) {
      if (i + 1 == count) return wrong("a value is missing after", words[i]);
      if (!strcmp(words[i], "--plugin"))
        plugin = words[++i];
      else if (!strcmp(words[i], "--options"))
        options = words[++i];
      else if (!strcmp(words[i], "--out"))
        folder = words[++i];
      else if (!strcmp(words[i], "--times"))
        times = strtol(words[++i], NULL, 10);
      else
        return wrong("unknown:", words[i]);
    } else if (given < MOST_ARRAYS + 2) {
      plain[given++] = words[i];
    }
  }
  if (given == 0)
    return wrong("usage: funcnet_run MODEL [FUNCTION SHAPE[:FILE] ...]",
                 "[--plugin P] [--options O] [--out DIR] [--times N]");

  fn_device* device;
  fn_model* model;
  if (fn_device_open(plugin, options, &device) || fn_model_open(device, plain[0], &model)) return failed();
  int code = 0;
  if (given == 1) {
    code = describe(model);
  } else {
    const char* name = plain[1];
    fn_spec spec;
    if (fn_function_arity(model, name, &takes, &gives)) return failed();
    if (gives > MOST_ARRAYS) return wrong("too many outputs of", name);
    for (size_t i = 0; i + 2 < given && i < takes; ++i) {
      if (fn_function_input(model, name, i, &spec)) return failed();
      if ((code = read_input(plain[i + 2], &spec, &inputs[i]))) return code;
    }
    if (fn_call(model, name, inputs, given - 2, outputs, gives)) return failed();
    for (size_t i = 0; i < gives; ++i) {
      fn_function_output(model, name, i, &spec);
      print_output(spec.name, &outputs[i]);
      if (folder && (code = write_output(folder, i, &outputs[i]))) return code;
    }
    if (times > 0) {
      double* took = malloc((size_t)times * sizeof *took);
      for (long i = 0; took && i < times; ++i) {
        double start = seconds();
        if (fn_call(model, name, inputs, given - 2, outputs, gives)) return failed();
        took[i] = seconds() - start;
      }
      if (!took) return wrong("no memory for", "--times");
      qsort(took, (size_t)times, sizeof *took, by_size);
      printf("median of %ld calls on %s: %.1f microseconds\n", times, fn_device_platform(device),
             1e6 * took[times / 2]);
      free(took);
    }
    for (size_t i = 0; i < takes; ++i) fn_array_free(&inputs[i]);
    for (size_t i = 0; i < gives; ++i) fn_array_free(&outputs[i]);
  }
  fn_model_close(model);
  fn_device_close(device);
  return code;
}
