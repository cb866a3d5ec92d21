"""Compute the least number of bytes and operations of the GPU kernels, and the least time that they take: the tables of `roofline.md`.

``python -m benchmarks.studies roofline`` needs no GPU; with triton it also compiles the kernels of `token_logprob` for sm_90 and
reads their shared memory, registers and spills. ``--write`` puts the tables into `roofline.md`.
"""

from __future__ import annotations

import importlib
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parent / "roofline.md"
MARK = "<!-- below: python -m benchmarks.studies roofline --write -->\n"

# Datasheet rates of the SXM parts. H100 and H200 differ in memory only.
PROCESSORS = 132
BF16_FLOPS = 989e12
FLOPS_PER_CLOCK = 4096  # dense bf16, of one multiprocessor
CLOCK = BF16_FLOPS / FLOPS_PER_CLOCK / PROCESSORS
LANES, SPECIAL = 128, 16  # float32 operations, and exp2, of a multiprocessor in a clock
BANDWIDTH = {"H100": 3.35e12, "H200": 4.8e12}

ROWS = 16384
DEPTHS, VOCABS = (512, 1024, 2048, 4096), (50257, 128256, 262144)
# Of one logit: multiply-add to the exponent, sum; compare, select and sum for the target; the maximum at half rate.
LOGIT_OPERATIONS, MAXIMUM_OPERATIONS = 5, 2


def table(head: list[str], lines: list[list[str]]) -> str:
    """Return a table in Markdown."""
    rows = [head, ["---"] * len(head), *lines]
    return "".join("| " + " | ".join(row) + " |\n" for row in rows)


def epilogue_clocks(logits: int) -> float:
    """Clocks in which the matrix unit waits: the exponentials overlap the other operations, the maximum comes first."""
    return logits * (max(1 / SPECIAL, LOGIT_OPERATIONS / LANES) + MAXIMUM_OPERATIONS / LANES)


def head_lines() -> list[list[str]]:
    """token_logprob: the product, the exponentials computed at the same time, the bytes, and the expected share of a bare product."""
    plan = importlib.import_module("mixfast.kernels._head_plan")
    import torch

    tile = plan.tile_for(torch.bfloat16, ROWS)
    lines = []
    for depth in DEPTHS:
        for vocab in VOCABS:
            units = -(-ROWS // tile.rows)
            parts = plan.parts_for(vocab, depth, tile, units, PROCESSORS, 2)
            splits = sum(part.splits for part in parts)
            rounds = sum(
                -(-units * part.splits // PROCESSORS) * -(-(part.last - part.first) // part.splits) for part in parts
            )
            product = tile.rows * tile.columns * depth * 2 / FLOPS_PER_CLOCK
            epilogue = epilogue_clocks(tile.rows * tile.columns)
            expected = rounds * (product + epilogue) / CLOCK
            bare = 2.0 * ROWS * vocab * depth / BF16_FLOPS
            # Both operands once for each group of row tiles that walks through the vocabulary together.
            bytes_moved = 2.0 * ROWS * depth + 2.0 * vocab * depth * -(-units // tile.group) + 8.0 * ROWS * splits * 2
            memory = (8 * splits + 4) / (2 * vocab)
            lines.append([
                f"{depth}", f"{vocab}", f"{bare * 1e3:.2f}", f"{ROWS * vocab / SPECIAL / PROCESSORS / CLOCK * 1e3:.2f}",
                f"{bytes_moved / 1e9:.2f}", *(f"{bytes_moved / rate * 1e3:.2f}" for rate in BANDWIDTH.values()),
                f"{splits}", f"{expected * 1e3:.2f}", f"{100 * bare / expected:.0f} %", f"{100 * memory:.2f} %",
            ])  # fmt: skip
    return lines


def row_lines() -> list[list[str]]:
    """The memory-bound kernels: bytes, operations and the larger of the two times."""
    cases: list[tuple[str, float, float, float]] = []
    for vocab in VOCABS:
        logits = float(ROWS * vocab)
        clocks = logits * max(1 / SPECIAL, (LOGIT_OPERATIONS + MAXIMUM_OPERATIONS) / LANES)
        cases.append((f"from logits, {ROWS} x {vocab} bf16", 2 * logits, LOGIT_OPERATIONS * logits, clocks))
    for k in (8, 16, 64, 256):
        n = (1 << 30) // k
        # exp in about 13 multiply-adds, the dot product and the gradient in 2; each row's logarithm and division apart.
        gradient = n * (15.0 * k + 40)
        cases.append((f"row_pass, value and gradient, {n} x {k} fp32", 4.0 * n * k, gradient, gradient / LANES))
        hessian = gradient + float(n) * k * k
        cases.append((f"row_pass with Hessian, {n} x {k} fp32", 4.0 * n * k, hessian, hessian / LANES))
    for k, m in ((16, 1), (16, 8), (16, 1000), (64, 1000)):
        n = 10_000_000
        # A logarithm for each product of 4 rows' sums, about 25 operations.
        work = n * k * 13.0 + float(n) * m * (k + 1 + 25 / 4)
        cases.append((f"mixture_nll, {n} x {k}, {m} mixtures", 4.0 * n * k, work, work / LANES))
    n = 100_000_000
    cases.append((f"one sweep of solve, {n} x 16 fp32", 64.0 * n, n * 280.0, n * 280.0 / LANES))
    lines = []
    for name, moved, operations, clocks in cases:
        compute = clocks / PROCESSORS / CLOCK
        lines.append([
            name, f"{moved / 1e9:.2f}", f"{operations / 1e9:.1f}", f"{compute * 1e3:.2f}",
            *(f"{max(moved / rate, compute) * 1e3:.2f}" for rate in BANDWIDTH.values()),
        ])  # fmt: skip
    return lines


def compiled_lines() -> list[list[str]]:
    """Shared memory, registers and spills of the fused kernel as triton compiles it for sm_90."""
    import torch
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    fused = importlib.import_module("mixfast.kernels.token_logprob")
    plan = importlib.import_module("mixfast.kernels._head_plan")
    disassembler = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    lines = []
    for label, kind, tile in (
        ("bf16, fp16", "bf16", plan.tile_for(torch.bfloat16, ROWS)),
        ("bf16, fp16, at most 64 rows", "bf16", plan.tile_for(torch.bfloat16, 64)),
        ("fp32", "fp32", plan.tile_for(torch.float32, ROWS)),
    ):
        constants: dict[str, Any] = {
            "RAGGED": False, "HAS_BIAS": False, "HAS_CAP": False, "DESCRIPTORS": True, "UPCAST": False,
            "PRECISION": "ieee" if kind == "fp32" else "tf32", "ROWS": tile.rows, "COLUMNS": tile.columns,
            "DEPTH": tile.depth, "GROUP": tile.group,
        }  # fmt: skip
        types = dict.fromkeys(("peak_ptr", "mass_ptr", "picked_ptr"), "*fp32") | {"target_ptr": "*i64"}
        types |= {"bias_ptr": f"*{kind}", "cap_slope": "fp32", "factor": "fp32"}
        types |= {"hidden": f"tensordesc<{kind}[{tile.rows}, {tile.depth}]>"}
        types |= {"head": f"tensordesc<{kind}[{tile.columns}, {tile.depth}]>"}
        names = fused._head_pass.arg_names
        signature = {
            name: "constexpr" if name in constants else types.get(name, "i64" if name.endswith("_stride") else "i32")
            for name in names
        }
        source = ASTSource(
            fn=fused._head_pass,
            signature=signature,
            constexprs={(names.index(name),): value for name, value in constants.items()},
        )
        options = {"num_warps": tile.warps, "num_stages": tile.stages}
        made = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
        with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
            file.write(made.asm["cubin"])
            file.flush()
            command = [str(disassembler), "--dump-resource-usage", file.name]
            usage = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        registers, stack = (int(re.search(rf"{word}:(\d+)", usage)[1]) for word in ("REG", "STACK"))  # type: ignore[index]
        lines.append([
            label, f"{tile.rows} x {tile.columns} x {tile.depth}", f"{tile.warps}", f"{tile.stages}",
            f"{made.metadata.shared / 1024:.0f} KB", f"{registers}", f"{stack} bytes",
        ])  # fmt: skip
    return lines


def tables() -> str:
    """Return all tables."""
    out = f"### token_logprob, n = {ROWS}, bf16; times in ms\n\n"
    out += table(
        ["D", "V", "product at 989 TFLOP/s", "exponentials alone", "GB moved", *(f"that on {name}" for name in BANDWIDTH),
         "splits", "expected", "product / expected", "memory / logits"],
        head_lines(),
    )  # fmt: skip
    out += "\n### Kernels bound by memory; times in ms\n\n"
    out += table(
        ["kernel", "GB moved", "1e9 operations", "operations alone", *(f"at least, {name}" for name in BANDWIDTH)],
        row_lines(),
    )
    try:
        import triton
    except ImportError:
        return out
    out += f"\n### token_logprob as triton {triton.__version__} compiles it for sm_90\n\n"
    return out + table(
        ["inputs", "tile", "warps", "stages", "shared", "registers of a thread", "spilled"], compiled_lines()
    )


def run(write: bool = False) -> None:
    """Print the tables; `write` puts them into roofline.md instead."""
    if not write:
        print(tables())
        return
    text = PAGE.read_text(encoding="utf-8").partition(MARK)[0]
    PAGE.write_text(text + MARK + "\n" + tables(), encoding="utf-8")
