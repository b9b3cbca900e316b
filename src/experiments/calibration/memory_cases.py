"""The training configurations whose memory `planning_measurements` measures."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """A training configuration to measure."""

    model: str
    layers: int
    vocabulary: int
    lora: str
    rows: int
    length: int
    trained_share: float = 0.3
    r: int = 16
    checkpointing: bool = False
    precision: str = "fp32"
    accumulation: int = 1

    @property
    def name(self) -> str:
        """The settings of the case in words."""
        rank = "" if self.lora == "none" else f" r={self.r}"
        checkpointing = " checkpointing" if self.checkpointing else ""
        passes = f" x {self.accumulation}" if self.accumulation > 1 else ""
        return (
            f"{self.model} {self.layers} layers, {self.vocabulary:,} tokens, {self.lora}{rank}, "
            f"{self.rows} x {self.length}{passes}, {self.trained_share:.0%} trained, "
            f"{self.precision}{checkpointing}"
        )


SMALL, BIG, DEEP = "qwen3_0_6b", "qwen3_1_7b", "smollm2_135m"
CASES = (
    Case(SMALL, 4, 32_768, "all_linear", 2, 512),
    Case(SMALL, 4, 32_768, "all_linear", 2, 512, checkpointing=True),
    Case(SMALL, 4, 32_768, "all_linear", 1, 1024, r=64, trained_share=0.15),
    Case(SMALL, 2, 151_936, "all_linear", 4, 256, trained_share=1.0),
    Case(SMALL, 4, 32_768, "qv", 4, 256),
    Case(SMALL, 3, 32_768, "qv", 2, 512, checkpointing=True, r=4),
    Case(SMALL, 2, 32_768, "none", 2, 256),
    Case(SMALL, 2, 32_768, "none", 4, 256, checkpointing=True),
    Case(SMALL, 3, 8_192, "none", 1, 512, accumulation=2),
    Case(SMALL, 4, 32_768, "mlp", 2, 384, accumulation=2),
    Case(SMALL, 2, 32_768, "dora", 2, 256),
    Case(SMALL, 4, 32_768, "all_linear", 2, 512, precision="bf16"),
    Case(BIG, 2, 32_768, "all_linear", 2, 512),
    Case(BIG, 2, 32_768, "all_linear", 2, 512, checkpointing=True),
    Case(BIG, 2, 151_936, "qv", 1, 512, r=1),
    Case(BIG, 2, 32_768, "attention", 4, 192, r=64, trained_share=0.15),
    Case(BIG, 2, 8_192, "none", 1, 256),
    Case(BIG, 2, 32_768, "all_linear", 2, 256, checkpointing=True, precision="bf16"),
    # A whole model: what an allocator keeps of freed memory grows with the number of layers.
    Case(DEEP, 30, 49_152, "all_linear", 2, 400),
    Case(DEEP, 30, 49_152, "all_linear", 2, 400, checkpointing=True),
    Case(DEEP, 30, 49_152, "all_linear", 1, 256),
    Case(DEEP, 30, 49_152, "qv", 4, 256),
)
GPU_CASES = tuple(
    Case(model, 28, 151_936, lora, 4, 512, checkpointing=checkpointing, precision=precision)
    for model in (SMALL, BIG)
    for lora in ("all_linear", "qv", "none")
    for checkpointing in (True, False)
    for precision in ("fp16",)
    if not (model == BIG and lora == "none")
)
