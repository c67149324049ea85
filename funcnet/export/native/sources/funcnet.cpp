// Running an artifact by a PJRT plugin; see funcnet.h. In order: the model, compiling, calling, the C functions.
#include "funcnet.h"

#include <atomic>
#include <numeric>

#include "artifact.hpp"
#include "device.hpp"

namespace {

// ---- the model

struct Program {  // of one function, for one set of sizes
  string code, sizes;
  std::vector<Shape> inputs, outputs;
  std::vector<int64_t> kept;  // all arguments: none may be used as memory for outputs
  std::mutex compiling;
  std::atomic<PJRT_LoadedExecutable*> executable{nullptr};
};

struct Function {
  string name;
  std::vector<PJRT_Buffer*> weights;
  std::vector<Spec> inputs, outputs;
  std::vector<std::unique_ptr<Program>> programs;
  string others;  // platforms whose programs do not run here
};

struct Model {
  std::shared_ptr<Device> device;
  string name;
  std::map<string, string> metadata;
  std::map<string, Buffer> weights;
  std::deque<Function> functions;

  Model(std::shared_ptr<Device> device_, const char* path) : device(std::move(device_)) {
    Mapped file(path);
    Zip zip(file.bytes);
    Json manifest = read_json(zip.at("manifest.json"));
    const Json* format = manifest.find("format");
    if (!format || format->text != "funcnet.export") fail(FN_FORMAT, "it is a zip file, but no artifact of funcnet");
    if (manifest.at("version", '0').number() != 1)
      fail(FN_FORMAT, "it is of version %s; this program reads version 1", manifest.at("version", '0').text.c_str());
    name = manifest.at("name", '"').text;
    if (const Json* texts = manifest.find("metadata"))
      for (const auto& [key, value] : texts->fields) metadata[key] = value.text;
    const Json& listed = manifest.at("files", '{');
    for (const auto& [file_name, about] : listed.fields) {
      Bytes data = zip.at(file_name);
      if (about.at("bytes", '0').number() != int64_t(data.size()) || about.at("sha256", '"').text != sha256(data))
        fail(FN_FORMAT, "the artifact's member '%.200s' is not what was written: its SHA-256 differs",
             file_name.c_str());
    }
    auto member = [&](const string& wanted) {
      if (!listed.find(wanted)) fail(FN_FORMAT, "the artifact states no SHA-256 of '%.200s'", wanted.c_str());
      return zip.at(wanted);
    };
    auto arrays = read_safetensors(member("weights.safetensors"));
    for (const auto& [key, json] : manifest.at("functions", '{').fields) add(key, json, arrays, member);
    send_weights(arrays);
    for (Function& function : functions)
      for (const auto& item : manifest.at("functions", '{').at(function.name, '{').at("weights", '[').fields)
        function.weights.push_back(weights.at(item.second.text).get());
  }
  Model(const Model&) = delete;
  ~Model() {
    for (Function& function : functions)
      for (auto& program : function.programs) {
        FN_ARGS(destroy, PJRT_LoadedExecutable_Destroy);
        destroy.executable = program->executable;
        if (destroy.executable) device->drop(device->api->PJRT_LoadedExecutable_Destroy(&destroy));
      }
  }

  template <class Member>
  void add(const string& key, const Json& json, const std::map<string, Weight>& arrays, const Member& member) {
    Function& function = functions.emplace_back();
    function.name = key;
    for (const auto& item : json.at("inputs", '[').fields) function.inputs.emplace_back(item.second);
    for (const auto& item : json.at("outputs", '[').fields) function.outputs.emplace_back(item.second);
    const auto& names = json.at("weights", '[').fields;
    for (const auto& item : names)
      if (!arrays.count(item.second.text))
        fail(FN_FORMAT, "the artifact lacks the weight '%.200s'", item.second.text.c_str());
    bool open = !json.at("symbols", '[').fields.empty();
    for (bool own : {true, false})  // programs for this platform come first; then those that any platform runs
      for (const auto& item : json.at("programs", '[').fields) {
        const string& platform = item.second.at("platform", '"').text;
        const Json* sizes = item.second.find("sizes");
        bool sized = sizes && sizes->kind == '{';
        if ((platform == device->platform) != own || (open && !sized)) continue;
        if (!own && !item.second.at("portable", 'b').is("true")) {
          function.others += " " + platform;
          continue;
        }
        add_program(function, item.second.at("file", '"').text, sized ? *sizes : Json{}, member);
        auto& kept = function.programs.back()->kept;
        kept.resize(names.size() + function.inputs.size());
        std::iota(kept.begin(), kept.end(), 0);
      }
  }
  template <class Member>
  static void add_program(Function& function, const string& file, const Json& sizes, const Member& member) {
    auto program = std::make_unique<Program>();
    Sizes numbers;
    for (const auto& [symbol, size] : sizes.fields) {
      numbers[symbol] = size.number();
      program->sizes += (program->sizes.empty() ? "" : ",") + symbol + "=" + size.text;
    }
    for (const Spec& spec : function.inputs) program->inputs.push_back(spec.shape(numbers));
    for (const Spec& spec : function.outputs) program->outputs.push_back(spec.shape(numbers));
    program->code = member(file);
    if (program->code.compare(0, 4, "ML\xefR"))
      fail(FN_FORMAT, "the artifact's member '%.200s' is no StableHLO", file.c_str());
    function.programs.push_back(std::move(program));
  }

  void send_weights(const std::map<string, Weight>& arrays) {
    std::vector<PJRT_Event*> events;
    PJRT_Error* first = nullptr;
    auto wait = [&] {
      for (PJRT_Event* event : events) {
        PJRT_Error* error = device->wait(event);
        std::swap(first, error);
        device->drop(error);
      }
    };
    try {
      for (const auto& [key, array] : arrays) {
        Sent sent = send(*device, array.dtype, array.shape, array.data.data(),
                         PJRT_HostBufferSemantics_kImmutableUntilTransferCompletes);
        weights.emplace(key, std::move(sent.buffer));
        events.push_back(sent.done);
      }
    } catch (...) {
      wait();  // the file must stay mapped until then
      device->drop(first);
      throw;
    }
    wait();
    device->check(first, FN_EXECUTE, "copying weights to the device");
  }

  const Function& function(const char* wanted) const {
    string names;
    for (const Function& each : functions) {
      if (wanted ? each.name == wanted : functions.size() == 1) return each;
      names += (names.empty() ? "" : ", ") + each.name;
    }
    fail(FN_NAME, "the model has no function '%.200s'; it has: %s", wanted ? wanted : "(NULL)", names.c_str());
  }

  // ---- compiling

  PJRT_LoadedExecutable* compiled(const Function& function, Program& program) const {
    if (PJRT_LoadedExecutable* ready = program.executable.load(std::memory_order_acquire)) return ready;
    std::lock_guard<std::mutex> lock(program.compiling);
    if (PJRT_LoadedExecutable* ready = program.executable.load()) return ready;
    // a CompileOptionsProto: field 3 (executable_build_options), 4 bytes: its fields 4 (num_replicas) and
    // 5 (num_partitions) are 1. All else is XLA's default, which the environment variable XLA_FLAGS may change
    static const char options[] = {0x1a, 0x04, 0x20, 0x01, 0x28, 0x01};
    PJRT_Program source{};
    source.struct_size = PJRT_Program_STRUCT_SIZE;
    source.code = program.code.data(), source.code_size = program.code.size();
    source.format = "mlir", source.format_size = 4;
    FN_ARGS(compile, PJRT_Client_Compile);
    compile.client = device->client;
    compile.program = &source;
    compile.compile_options = options, compile.compile_options_size = sizeof options;
    device->check(device->api->PJRT_Client_Compile(&compile), FN_COMPILE,
                  ("compiling '" + function.name + "'").c_str());
    try {
      check_outputs(function, program, compile.executable);
    } catch (...) {
      FN_ARGS(destroy, PJRT_LoadedExecutable_Destroy);
      destroy.executable = compile.executable;
      device->drop(device->api->PJRT_LoadedExecutable_Destroy(&destroy));
      throw;
    }
    program.executable.store(compile.executable, std::memory_order_release);
    return compile.executable;
  }
  // The plugin writes as many outputs as the program has, whatever the manifest says: they must agree.
  void check_outputs(const Function& function, const Program& program, PJRT_LoadedExecutable* loaded) const {
    FN_ARGS(get, PJRT_LoadedExecutable_GetExecutable);
    get.loaded_executable = loaded;
    device->check(device->api->PJRT_LoadedExecutable_GetExecutable(&get), FN_COMPILE, "asking for the program");
    auto release = [this](PJRT_Executable* executable) {
      FN_ARGS(destroy, PJRT_Executable_Destroy);
      destroy.executable = executable;
      device->drop(device->api->PJRT_Executable_Destroy(&destroy));
    };
    std::unique_ptr<PJRT_Executable, decltype(release)> owner(get.executable, release);
    FN_ARGS(types, PJRT_Executable_OutputElementTypes);
    types.executable = get.executable;
    device->check(device->api->PJRT_Executable_OutputElementTypes(&types), FN_COMPILE, "asking for dtypes");
    FN_ARGS(lengths, PJRT_Executable_OutputDimensions);
    lengths.executable = get.executable;
    device->check(device->api->PJRT_Executable_OutputDimensions(&lengths), FN_COMPILE, "asking for shapes");
    bool same = lengths.num_outputs == program.outputs.size() && types.num_output_types == program.outputs.size();
    const int64_t* next = lengths.dims;
    for (size_t i = 0; same && i < program.outputs.size(); next += lengths.dim_sizes[i++])
      same = types.output_types[i] == PJRT_TYPES[function.outputs[i].dtype] &&
             Shape(next, next + lengths.dim_sizes[i]) == program.outputs[i];
    if (!same) fail(FN_FORMAT, "a program of '%s' gives other outputs than the artifact says", function.name.c_str());
  }

  // ---- calling

  Program& fitting(const Function& function, const std::vector<fn_dtype>& dtypes,
                   const std::vector<Shape>& shapes) const {
    const char* of = function.name.c_str();
    if (shapes.size() != function.inputs.size())
      fail(FN_ARGUMENT, "'%s' takes %zu inputs; got %zu", of, function.inputs.size(), shapes.size());
    for (size_t i = 0; i < shapes.size(); ++i) {
      const Spec& spec = function.inputs[i];
      string got = spelled(dtypes[i], shapes[i]);
      bool fits = shapes[i].size() == spec.lengths.size();
      for (size_t axis = 0; fits && axis < shapes[i].size(); ++axis)
        fits = !spec.fixed(axis) || spec.lengths[axis] == std::to_string(shapes[i][axis]);
      if (!fits || dtypes[i] != spec.dtype)
        fail(fits ? FN_DTYPE : FN_SHAPE, "input '%s' of '%s' is %s; got %s", spec.name.c_str(), of, spec.text.c_str(),
             got.c_str());
    }
    string sizes;
    for (auto& program : function.programs) {
      if (program->inputs == shapes) return *program;
      if (sizes.find(" " + program->sizes) == string::npos) sizes += " " + program->sizes;
    }
    string got;
    for (size_t i = 0; i < shapes.size(); ++i)
      got += (i ? ", " : "") + function.inputs[i].name + " " + spelled(dtypes[i], shapes[i]);
    if (function.programs.empty())
      fail(FN_SHAPE,
           "'%s' has no program of fixed sizes for the platform '%s' (the file has:%s); name it in export.save's "
           "platforms, and sizes in sizes=",
           of, device->platform.c_str(), function.others.empty() ? " none" : function.others.c_str());
    fail(FN_SHAPE, "'%s' was not exported for %s; there is:%s. Name more in export.save(sizes=[...])", of, got.c_str(),
         sizes.c_str());
  }

  std::vector<Buffer> run(const Function& function, Program& program, const std::vector<PJRT_Buffer*>& inputs) const {
    PJRT_LoadedExecutable* executable = compiled(function, program);
    std::vector<PJRT_Buffer*> arguments = function.weights;
    arguments.insert(arguments.end(), inputs.begin(), inputs.end());
    std::vector<PJRT_Buffer*> made(program.outputs.size());
    PJRT_Buffer* const* argument_list = arguments.data();
    PJRT_Buffer** output_list = made.data();
    PJRT_Event* complete = nullptr;
    PJRT_ExecuteOptions options{};
    options.struct_size = PJRT_ExecuteOptions_STRUCT_SIZE;
    options.non_donatable_input_indices = program.kept.data();
    options.num_non_donatable_input_indices = program.kept.size();
    FN_ARGS(execute, PJRT_LoadedExecutable_Execute);
    execute.executable = executable;
    execute.options = &options;
    execute.argument_lists = &argument_list;
    execute.num_devices = 1;
    execute.num_args = arguments.size();
    execute.output_lists = &output_list;
    execute.device_complete_events = &complete;
    string doing = "running '" + function.name + "'";
    device->check(device->api->PJRT_LoadedExecutable_Execute(&execute), FN_EXECUTE, doing.c_str());
    std::vector<Buffer> outputs;
    for (PJRT_Buffer* buffer : made) outputs.emplace_back(buffer, FreeBuffer{*device});
    device->check(device->wait(complete), FN_EXECUTE, doing.c_str());
    return outputs;
  }
};

// ---- arrays of the caller

Shape shape_of(const fn_array& array) {
  if (array.dtype <= FN_INVALID || array.dtype > FN_C64)
    fail(FN_DTYPE, "an array's dtype is %d, which is none", array.dtype);
  if (array.rank < 0 || array.rank > FN_MOST_AXES) fail(FN_SHAPE, "an array's rank is %d", array.rank);
  Shape shape(array.shape, array.shape + array.rank);
  for (int64_t length : shape)
    if (length < 0) fail(FN_SHAPE, "an array's shape is %s", spelled(array.dtype, shape).c_str());
  return shape;
}

void check_data(const fn_array& array, const Shape& shape) {
  size_t needed = bytes_of(array.dtype, shape);
  if (array.bytes != needed || (!array.data && needed))
    fail(FN_ARGUMENT, "an array %s has %zu bytes; its data say %zu%s", spelled(array.dtype, shape).c_str(), needed,
         array.bytes, array.data ? "" : " at NULL");
}

void check_room(const fn_array& array, fn_dtype dtype, const Shape& shape) {
  if (array.data && array.bytes < bytes_of(dtype, shape))
    fail(FN_ARGUMENT, "an output is %s, %zu bytes; there is room for %zu", spelled(dtype, shape).c_str(),
         bytes_of(dtype, shape), array.bytes);
}

void fill(fn_array& array, fn_dtype dtype, const Shape& shape, Memory memory) {
  array.dtype = dtype;
  array.rank = static_cast<int32_t>(shape.size());
  std::copy(shape.begin(), shape.end(), array.shape);
  array.bytes = bytes_of(dtype, shape);
  if (memory) array.data = memory.release();
}

void describe(const std::vector<Spec>& specs, size_t index, fn_spec* spec) {
  given(spec, "spec");
  if (index >= specs.size()) fail(FN_ARGUMENT, "there is no number %zu: there are %zu", index, specs.size());
  const Spec& of = specs[index];
  *spec = {of.name.c_str(), of.text.c_str(), of.dtype, static_cast<int32_t>(of.lengths.size()), {}};
  for (size_t axis = 0; axis < of.lengths.size(); ++axis)
    spec->shape[axis] = of.fixed(axis) ? std::stoll(of.lengths[axis]) : -1;
}

}  // namespace

// ---- the C functions

struct fn_device {
  std::shared_ptr<Device> device;
};
struct fn_model : Model {
  using Model::Model;
};
struct fn_tensor {
  std::shared_ptr<Device> device;
  fn_dtype dtype;
  Shape shape;
  Buffer buffer;
};

const char* fn_error(void) { return last_error; }
size_t fn_dtype_bytes(fn_dtype dtype) { return dtype_of(dtype).bytes; }
const char* fn_dtype_name(fn_dtype dtype) { return dtype_of(dtype).name; }

fn_code fn_device_open(const char* plugin, const char* options, fn_device** device) {
  return guarded([&] {
    given(device, "device");
    const char* path = plugin ? plugin : std::getenv("FUNCNET_PJRT_PLUGIN");
    if (!path || !*path) fail(FN_PLUGIN, "no plugin is given: name its file, or set FUNCNET_PJRT_PLUGIN");
    *device = new fn_device{std::make_shared<Device>(path, options)};
  });
}
void fn_device_close(fn_device* device) { delete device; }
const char* fn_device_platform(const fn_device* device) { return device ? device->device->platform.c_str() : nullptr; }
const char* fn_device_version(const fn_device* device) { return device ? device->device->version.c_str() : nullptr; }

fn_code fn_model_open(fn_device* device, const char* path, fn_model** model) {
  return guarded([&] {
    given(device, "device"), given(path, "path"), given(model, "model");
    try {
      *model = new fn_model(device->device, path);
    } catch (const Failure& failure) {
      fail(failure.code, "'%s': %s", path, failure.sentence.c_str());
    }
  });
}
void fn_model_close(fn_model* model) { delete model; }
const char* fn_model_name(const fn_model* model) { return model ? model->name.c_str() : nullptr; }
const char* fn_model_metadata(const fn_model* model, const char* key) {
  if (!model || !key) return nullptr;
  auto found = model->metadata.find(key);
  return found == model->metadata.end() ? nullptr : found->second.c_str();
}
size_t fn_function_count(const fn_model* model) { return model ? model->functions.size() : 0; }
const char* fn_function_name(const fn_model* model, size_t index) {
  return index < fn_function_count(model) ? model->functions[index].name.c_str() : nullptr;
}
fn_code fn_function_arity(const fn_model* model, const char* name, size_t* inputs, size_t* outputs) {
  return guarded([&] {
    given(model, "model"), given(inputs, "inputs"), given(outputs, "outputs");
    const Function& function = model->function(name);
    *inputs = function.inputs.size(), *outputs = function.outputs.size();
  });
}
fn_code fn_function_input(const fn_model* model, const char* name, size_t index, fn_spec* spec) {
  return guarded([&] { given(model, "model"), describe(model->function(name).inputs, index, spec); });
}
fn_code fn_function_output(const fn_model* model, const char* name, size_t index, fn_spec* spec) {
  return guarded([&] { given(model, "model"), describe(model->function(name).outputs, index, spec); });
}

namespace {

Program& program_for(const fn_model* model, const Function& function, const fn_array* inputs, size_t count) {
  std::vector<fn_dtype> dtypes;
  std::vector<Shape> shapes;
  for (size_t i = 0; i < count; ++i) dtypes.push_back(inputs[i].dtype), shapes.push_back(shape_of(inputs[i]));
  return model->fitting(function, dtypes, shapes);
}

}  // namespace

fn_code fn_prepare(fn_model* model, const char* name, const fn_array* inputs, size_t count) {
  return guarded([&] {
    given(model, "model"), given(inputs || !count, "inputs");
    const Function& function = model->function(name);
    model->compiled(function, program_for(model, function, inputs, count));
  });
}

fn_code fn_call(fn_model* model, const char* name, const fn_array* inputs, size_t count, fn_array* outputs,
                size_t output_count) {
  return guarded([&] {
    given(model, "model"), given(inputs || !count, "inputs"), given(outputs || !output_count, "outputs");
    const Function& function = model->function(name);
    Program& program = program_for(model, function, inputs, count);
    if (output_count != function.outputs.size())
      fail(FN_ARGUMENT, "'%s' gives %zu outputs; there is room for %zu", function.name.c_str(), function.outputs.size(),
           output_count);
    for (size_t i = 0; i < count; ++i) check_data(inputs[i], program.inputs[i]);
    for (size_t i = 0; i < output_count; ++i) check_room(outputs[i], function.outputs[i].dtype, program.outputs[i]);
    std::deque<Lent> lent;
    std::vector<PJRT_Buffer*> buffers;
    for (size_t i = 0; i < count; ++i)
      buffers.push_back(
          lent.emplace_back(*model->device, inputs[i].dtype, program.inputs[i], inputs[i].data).sent.buffer.get());
    std::vector<Buffer> made = model->run(function, program, buffers);
    std::vector<Memory> memories;
    for (size_t i = 0; i < output_count; ++i)
      memories.push_back(
          receive(*model->device, made[i].get(), outputs[i], function.outputs[i].dtype, program.outputs[i]));
    for (size_t i = 0; i < output_count; ++i)
      fill(outputs[i], function.outputs[i].dtype, program.outputs[i], std::move(memories[i]));
  });
}
void fn_array_free(fn_array* array) {
  if (!array) return;
  std::free(array->data);
  array->data = nullptr;
  array->bytes = 0;
}

fn_code fn_run(fn_model* model, const char* name, const fn_tensor* const* inputs, size_t count, fn_tensor** outputs,
               size_t output_count) {
  return guarded([&] {
    given(model, "model"), given(inputs || !count, "inputs"), given(outputs || !output_count, "outputs");
    const Function& function = model->function(name);
    if (output_count != function.outputs.size())
      fail(FN_ARGUMENT, "'%s' gives %zu outputs; there is room for %zu", function.name.c_str(), function.outputs.size(),
           output_count);
    std::vector<fn_dtype> dtypes;
    std::vector<Shape> shapes;
    std::vector<PJRT_Buffer*> buffers;
    for (size_t i = 0; i < count; ++i) {
      given(inputs[i], "an input");
      if (inputs[i]->device != model->device) fail(FN_ARGUMENT, "input %zu lies on another device than the model", i);
      dtypes.push_back(inputs[i]->dtype), shapes.push_back(inputs[i]->shape),
          buffers.push_back(inputs[i]->buffer.get());
    }
    Program& program = model->fitting(function, dtypes, shapes);
    std::vector<Buffer> made = model->run(function, program, buffers);
    std::vector<std::unique_ptr<fn_tensor>> tensors;
    for (size_t i = 0; i < output_count; ++i)
      tensors.emplace_back(
          new fn_tensor{model->device, function.outputs[i].dtype, program.outputs[i], std::move(made[i])});
    for (size_t i = 0; i < output_count; ++i) outputs[i] = tensors[i].release();
  });
}
fn_code fn_tensor_new(fn_device* device, const fn_array* array, fn_tensor** tensor) {
  return guarded([&] {
    given(device, "device"), given(array, "array"), given(tensor, "tensor");
    Shape shape = shape_of(*array);
    check_data(*array, shape);
    const Device& on = *device->device;
    Sent sent = send(on, array->dtype, shape, array->data, PJRT_HostBufferSemantics_kImmutableOnlyDuringCall);
    on.check(on.wait(sent.done), FN_EXECUTE, "copying an array to the device");
    *tensor = new fn_tensor{device->device, array->dtype, std::move(shape), std::move(sent.buffer)};
  });
}
fn_code fn_tensor_read(const fn_tensor* tensor, fn_array* array) {
  return guarded([&] {
    given(tensor, "tensor"), given(array, "array");
    check_room(*array, tensor->dtype, tensor->shape);
    fill(*array, tensor->dtype, tensor->shape,
         receive(*tensor->device, tensor->buffer.get(), *array, tensor->dtype, tensor->shape));
  });
}
void fn_tensor_free(fn_tensor* tensor) { delete tensor; }
