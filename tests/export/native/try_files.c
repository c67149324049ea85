/* Open each artifact whose path stands on a line of the input, and call its functions with zeros. What it says of each is one
 * line: the code and the sentence. With "open" as second argument nothing is compiled: the plugin never sees a program. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "funcnet.h"

static fn_code call(fn_model *model, const char *name) {
  size_t takes, gives;
  fn_code code = fn_function_arity(model, name, &takes, &gives);
  if (code) return code;
  fn_array *inputs = calloc(takes + 1, sizeof *inputs), *outputs = calloc(gives + 1, sizeof *outputs);
  for (size_t i = 0; i < takes && !code; ++i) {
    fn_spec spec;
    if ((code = fn_function_input(model, name, i, &spec))) break;
    inputs[i].dtype = spec.dtype;
    inputs[i].rank = spec.rank;
    inputs[i].bytes = fn_dtype_bytes(spec.dtype);
    for (int axis = 0; axis < spec.rank; ++axis) {
      inputs[i].shape[axis] = spec.shape[axis] < 0 ? 1 : spec.shape[axis];
      inputs[i].bytes *= (size_t)inputs[i].shape[axis];
      if (inputs[i].bytes > 1 << 24) code = FN_SHAPE; /* more than this test has */
    }
    if (!code) inputs[i].data = calloc(inputs[i].bytes + 1, 1);
  }
  if (!code) code = fn_call(model, name, inputs, takes, outputs, gives);
  for (size_t i = 0; i < takes; ++i) fn_array_free(&inputs[i]);
  for (size_t i = 0; i < gives; ++i) fn_array_free(&outputs[i]);
  free(inputs);
  free(outputs);
  return code;
}

int main(int count, char **words) {
  char path[4096];
  fn_device *device;
  int only_open = count > 2 && !strcmp(words[2], "open");
  if (count < 2 || fn_device_open(words[1], NULL, &device)) {
    fprintf(stderr, "%s\n", fn_error());
    return 1;
  }
  while (fgets(path, sizeof path, stdin)) {
    fn_model *model;
    path[strcspn(path, "\n")] = '\0';
    printf("%s ", path);
    fflush(stdout);
    fn_code code = fn_model_open(device, path, &model);
    if (!code) {
      for (size_t i = 0; i < fn_function_count(model) && !code && !only_open; ++i)
        code = call(model, fn_function_name(model, i));
      fn_model_close(model);
    }
    char sentence[200];
    snprintf(sentence, sizeof sentence, "%s", code ? fn_error() : "");
    for (char *mark = sentence; *mark; ++mark)
      if (*mark == '\n') *mark = ' ';
    printf("%d %s\n", code, sentence);
    fflush(stdout);
  }
  fn_device_close(device);
  return 0;
}
