"""Reading a printed program: JAX 0.10, 0.11 and 0.12 on CPU, and asynchronous forms of GPUs."""

import pytest

from funcnet.parallel.plans.collectives import find_collectives
from funcnet.parallel.plans.program_text import PrintedArray, ProgramText

TABLES = """
FileNames
1 "/home/me/train.py"
2 "/home/me/model.py"

FunctionNames
1 "<module>"
2 "make.<locals>.step"
3 "Block.__call__"

FileLocations
1 {file_name_id=1 function_name_id=1 line=90 end_line=90 column=1 end_column=5}
2 {file_name_id=1 function_name_id=2 line=12 end_line=12 column=1 end_column=5}
3 {file_name_id=2 function_name_id=3 line=34 end_line=34 column=1 end_column=5}

StackFrames
1 {file_location_id=1 parent_frame_id=%d}
2 {file_location_id=2 parent_frame_id=%d}
3 {file_location_id=3 parent_frame_id=%d}

"""
OFF_BY_ONE, EXACT = TABLES % (1, 2, 3), TABLES % (0, 1, 2)

PLACE = (
    'metadata={op_name="jit(step)/jvp(Net)/blocks/while/body/%s/Block/attention/dot_general" '
    "stack_frame_id=3}"
)

PROGRAM = """HloModule jit_step, is_scheduled=true, num_partitions=4
{tables}
%add (x: f32[], y: f32[]) -> f32[] {{
  ROOT %sum = f32[] add(%x, %y)
}}

%body (p: (s32[], f32[8,16])) -> (s32[], f32[8,16]) {{
  %p = (s32[], f32[8,16]{{1,0}}) parameter(0)
  {line}
  ROOT %t = (s32[], f32[8,16]{{1,0}}) tuple(%i, %x)
}}

%test (p.1: (s32[], f32[8,16])) -> pred[] {{
  ROOT %c = pred[] compare(%i.1, %n), direction=LT
}}

ENTRY %main_spmd (param: f32[8,4]) -> f32[8,16] {{
  %param.1 = bf16[8,4]{{1,0}} parameter(0), sharding={{replicated}}, metadata={{op_name="run.params[\\'a\\'][\\'b\\']"}}
  %w = (s32[], f32[8,16]{{1,0}}) while(%tuple), condition=%test, body=%body, backend_config={{{trips}}}
  ROOT %r = f32[8,16]{{1,0}} get-tuple-element(%w), index=1
}}
"""
SIX = '"known_trip_count":{"n":"6"}'

GATHER = "%g = f32[8,16]{1,0} all-gather(%x), channel_id=2, "
LINES = {
    "jax 0.10": (GATHER + "replica_groups={{0,1},{2,3}}, dimensions={1}, use_global_device_ids=true, ", "closed_call"),
    "jax 0.11": (
        GATHER + 'replica_groups=[2,2]<=[4], dimensions={1}, frontend_attributes={is_spmd_generated="true"}, ',
        "eval_jaxpr",
    ),
    "jax 0.12": (
        GATHER + "replica_groups=mesh['axis_0'=2,'axis_1'=2] {'axis_1'}, dimensions={1}, ",
        "eval_jaxpr",
    ),
    "part of an axis": (GATHER + "replica_groups=mesh['a'=4] {'a':(2)2}, dimensions={1}, ", "closed_call"),
    "gpu": (
        "%s = (f32[8,8]{1,0}, f32[8,16]{1,0}) all-gather-start(%x), replica_groups=[2,2]<=[4], dimensions={1}, ",
        "closed_call",
    ),
}  # fmt: skip
DONE = "\n  %d = f32[8,16]{1,0} all-gather-done(%s)"


@pytest.mark.parametrize("tables", [OFF_BY_ONE, EXACT], ids=["off by one", "exact"])
@pytest.mark.parametrize("name", LINES)
def test_an_exchange_in_a_loop(name, tables, mesh):
    line, call = LINES[name]
    line = line + PLACE % call + (DONE if name == "gpu" else "")
    program = ProgramText(PROGRAM.format(tables=tables, line=line, trips=SIX))
    (found,) = find_collectives(program, mesh, "make.<locals>.step")
    assert (found.kind, found.count, found.count_is_sure) == ("all-gather", 6, True)
    assert (found.arrays, found.bytes, found.sent) == (("f32[8,16]",), 512, 256)
    assert (found.devices, found.axes) == (2, ("model",))
    assert (found.layer, found.is_backward) == ("blocks.module.attention", False)
    assert (found.line, found.operation) == ("me/model.py:34", "dot_general")
    (parameter,) = program.parameters()
    assert parameter.attribute("op_name") == "run.params['a']['b']"
    assert parameter.arrays[0].nbytes == 64


def test_a_loop_of_unknown_length_counts_as_one_and_says_so(mesh):
    line = LINES["jax 0.10"][0] + PLACE % "closed_call"
    (found,) = find_collectives(ProgramText(PROGRAM.format(tables="", line=line, trips="")), mesh)
    assert (found.count, found.count_is_sure, found.line) == (1, False, "")


def test_source_lines_beside_the_operation(mesh):
    line = (
        LINES["jax 0.10"][0]
        + 'metadata={op_name="jit(f)/mul" source_file="/a/b/c.py" source_line=7}'
    )
    (found,) = find_collectives(ProgramText(PROGRAM.format(tables="", line=line, trips=SIX)), mesh)
    assert found.line == "b/c.py:7"


def test_an_exchange_without_a_name_takes_that_of_what_it_reads(mesh):
    named = "%x = f32[8,8]{1,0} multiply(%a, %a), " + PLACE % "closed_call"
    line = f"{named}\n  {LINES['jax 0.10'][0]}"
    (found,) = find_collectives(
        ProgramText(PROGRAM.format(tables=EXACT, line=line, trips=SIX)), mesh
    )
    assert (found.layer, found.line) == ("blocks.module.attention", "me/model.py:34")


def test_an_exchange_of_one_device_is_none(mesh):
    line = GATHER + "replica_groups={{0},{1},{2},{3}}, dimensions={1}"
    assert not find_collectives(ProgramText(PROGRAM.format(tables="", line=line, trips=SIX)), mesh)


@pytest.mark.parametrize(
    ("dtype", "size"),
    [("f32", 4), ("bf16", 2), ("pred", 1), ("s8", 1), ("c64", 8), ("f8e4m3fn", 1), ("token", 0)],
)
def test_bytes_of_element_types(dtype, size):
    assert PrintedArray(dtype, (3, 5)).nbytes == 15 * size
    assert PrintedArray("s4", (3,)).nbytes == 2


def test_text_of_anything_else_is_passed_over():
    program = ProgramText("nothing that XLA prints\n  %x = ]]\n")
    assert not program.parameters()
    assert not find_collectives(program)
