"""HW-GPT-Bench: `space.py` (values, no torch), `network.py` (the plain network), `supernet.py`."""

from sharewise.spaces.hw_gpt_bench.space import SIZES, hw_gpt_bench_l, hw_gpt_bench_m, hw_gpt_bench_s

__all__ = ["SIZES", "hw_gpt_bench_l", "hw_gpt_bench_m", "hw_gpt_bench_s"]
