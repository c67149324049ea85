"""What PyTorch's packages of many devices and processes are asked for."""

__all__ = ["OF_PROCESSES"]

_SHARD = "net = parallel.shard(net, mesh, parallel.{})"
_BATCH = (
    "training.fit(..., mesh=parallel.mesh(data=-1)) is data parallel; by hand "
    "parallel.batch_sharding(mesh) spreads a batch, and jax.jit does the rest"
)
_INSIDE = "jax.lax.{}, inside jax.shard_map; under jit XLA sends what is needed"
_START = "parallel.start(), in each process of `python -m funcnet.parallel.launch`"
_GROUPS = "axes of a mesh are the groups: parallel.mesh(data=-1, model=2)"
_POINT = "jax.lax.ppermute, inside jax.shard_map; parallel.pipeline sends from stage to stage"
_OBJECTS = "jax.experimental.multihost_utils.{}: of arrays; objects go through files"
_RANK = "jax.process_index(), jax.process_count(); inside jax.shard_map jax.lax.axis_index(name)"
_HIDDEN = (
    "JAX's own coordination service connects processes: parallel.start() is all that one calls"
)
_SAVED = "parts are saved by each process, and read on any mesh: fn.checkpoint.Checkpointer, fn.checkpoint.save"
_PLACE = "parallel.fully_sharded() and rules on dotted paths say where each array lies"
_PRECISION = "fn.mixed_precision(net), before parallel.shard"
_OFFLOAD = "jax.device_put(x, x.sharding.with_memory_kind('pinned_host'))"
_SPEC = "jax.sharding.PartitionSpec('data', None) says it of each dimension"
_TENSOR = "an array on a mesh is an ordinary jax.Array: jax.device_put(x, jax.sharding.NamedSharding(mesh, spec))"
_PREPARE = "XLA moves what a layer needs: parallel.output says where outputs lie"
_STAGE = "parallel.pipeline(net, mesh, path, microbatches=n), parallel.pipeline_value_and_grad: blocks in stages"

OF_PROCESSES: dict[str, dict[str, str]] = {
    "funcnet.parallel": {
        **dict.fromkeys(("DataParallel", "DistributedDataParallel", "replicate", "parallel_apply"), _BATCH),
        "scatter": "jax.device_put(batch, parallel.batch_sharding(mesh)) spreads a batch",
        "gather": "nothing: an array on a mesh is whole for who uses it; inside jax.shard_map jax.lax.all_gather",
        **dict.fromkeys(("FSDP", "FullyShardedDataParallel", "fully_shard"), _SHARD.format("fully_sharded()")),
        **dict.fromkeys(("parallelize_module", "ColwiseParallel", "RowwiseParallel"),
        _SHARD.format("tensor_parallel(net)")),
        "SequenceParallel": _SHARD.format("sequence_parallel(net)"),
        "ParallelStyle": "a style is a table of rules on dotted paths: parallel.join_rules joins several",
        **dict.fromkeys(("PrepareModuleInput", "PrepareModuleOutput", "PrepareModuleInputOutput"), _PREPARE),
        "loss_parallel": "F.cross_entropy of logits that are spread over a mesh: XLA computes it in parts",
        "ZeroRedundancyOptimizer": "parallel.shard_optimizer(optimizer, net, zero='data')",
        **dict.fromkeys(("Mesh", "DeviceMesh", "init_device_mesh", "make_mesh", "device_mesh"),
        "parallel.mesh(data=-1, model=2)"),
        **dict.fromkeys(("init_process_group", "rendezvous", "register_rendezvous_handler"), _START),
        "destroy_process_group": "jax.distributed.shutdown(); a process that ends does it",
        "all_reduce": _INSIDE.format("psum, pmax, pmean"),
        **dict.fromkeys(("all_gather", "all_gather_into_tensor", "all_gather_single", "all_gather_coalesced"),
                        _INSIDE.format("all_gather(x, axis), with tiled=True one behind the other")),
        **dict.fromkeys(("reduce_scatter", "reduce_scatter_tensor", "reduce_scatter_single"),
        _INSIDE.format("psum_scatter(x, axis, tiled=True)")),
        **dict.fromkeys(("all_to_all", "all_to_all_single"), _INSIDE.format("all_to_all(x, axis, 0, 0, tiled=True)")),
        "broadcast": _INSIDE.format("all_gather(x, axis)[source]") + "; across processes "
        "jax.experimental.multihost_utils.broadcast_one_to_all",
        "all_reduce_coalesced": _INSIDE.format("psum of a whole tree"),
        "reduce": _INSIDE.format("psum: each device has the sum"),
        "ReduceOp": "jax.lax.psum, jax.lax.pmean, jax.lax.pmax, jax.lax.pmin",
        **dict.fromkeys(("barrier", "monitored_barrier"), "jax.experimental.multihost_utils.sync_global_devices(name)"),
        **dict.fromkeys(("send", "recv", "isend", "irecv", "P2POp", "batch_isend_irecv"), _POINT),
        **dict.fromkeys(("all_gather_object", "gather_object"), _OBJECTS.format("process_allgather")),
        **dict.fromkeys(("broadcast_object_list", "scatter_object_list", "send_object_list", "recv_object_list"),
                        _OBJECTS.format("broadcast_one_to_all")),
        **dict.fromkeys(
            ("get_rank", "get_world_size", "get_node_local_rank", "get_global_rank", "get_group_rank",
            "get_process_group_ranks",
             "get_pg_count"), _RANK),
        **dict.fromkeys(
            ("new_group", "new_subgroups", "new_subgroups_by_enumeration", "split_group", "shrink_group", "group",
            "GroupMember",
             "GroupName", "ProcessGroup"), _GROUPS),
        **dict.fromkeys(
            ("is_available", "is_initialized", "is_torchelastic_launched", "is_backend_available", "is_gloo_available",
             "is_mpi_available", "is_nccl_available", "is_ucc_available", "is_xccl_available", "get_backend",
             "get_backend_config", "get_default_backend_for_device", "Backend", "BackendConfig", "supports_complex",
             "Work",
             "Store", "TCPStore", "FileStore", "HashStore", "PrefixStore", "ProcessGroupGloo", "Reducer", "GradBucket",
             "record_comm", "distributed_c10d", "rpc", "remote_device", "algorithms", "autograd", "config", "constants",
             "utils", "c10d_logger", "logging_handlers"), _HIDDEN),
        **dict.fromkeys(
            ("DebugLevel", "get_debug_level", "set_debug_level", "set_debug_level_from_env"),
            "parallel.plan(...) says before a run what a step needs and sends; parallel.alive which processes are "
            "there"),
        "tensor": _TENSOR,
        "nn": "collectives are differentiable as they are: jax.lax.psum, inside jax.shard_map",
        # torch.distributed.fsdp
        **dict.fromkeys(
            ("StateDictType", "StateDictConfig", "StateDictSettings", "FullStateDictConfig", "LocalStateDictConfig",
             "ShardedStateDictConfig", "OptimStateDictConfig", "FullOptimStateDictConfig", "LocalOptimStateDictConfig",
             "ShardedOptimStateDictConfig", "OptimStateKeyType"), _SAVED),
        **dict.fromkeys(("ShardingStrategy", "DataParallelMeshDims"), _PLACE),
        **dict.fromkeys(("MixedPrecision", "MixedPrecisionPolicy"), _PRECISION),
        **dict.fromkeys(("CPUOffload", "CPUOffloadPolicy", "OffloadPolicy"), _OFFLOAD),
        **dict.fromkeys(
            ("BackwardPrefetch", "FSDPModule", "UnshardHandle", "register_fsdp_forward_method", "share_comm_ctx"),
            "XLA gathers each array before it is used, and orders it: there is nothing to set"),
        # torch.distributed.tensor
        **dict.fromkeys(("DTensor", "distribute_tensor", "empty", "full", "ones", "rand", "randn", "zeros"), _TENSOR),
        "distribute_module": "net = parallel.shard(net, mesh, {'encoder.*': ('model', None)}): rules on dotted paths",
        **dict.fromkeys(("Shard", "Replicate", "Placement"), _SPEC),
        "Partial": "XLA adds up what is spread before it is used; inside jax.shard_map jax.lax.psum does",
        # torch.distributed.pipelining
        **dict.fromkeys(
            ("Pipe", "PipelineStage", "SplitPoint", "build_stage", "pipe_split", "ScheduleGPipe", "Schedule1F1B",
             "ScheduleInterleaved1F1B", "ScheduleInterleavedZeroBubble", "ScheduleLoopedBFS", "ScheduleZBVZeroBubble",
             "ScheduleDualPipeV"), _STAGE),
    },
}  # fmt: skip
