"""Names of strategies, techniques, pruners, kernels, adapters, tasks, problems and presets.

Built-ins are written as `module:attribute`, so listing them imports nothing heavy; plug-ins come
from the entry-point groups `paretoprune.<kinds>` and appear in `paretoprune list` by their package.
"""

from __future__ import annotations

from paretoprune.core import registries
from paretoprune.core.registries import Entry as Entry
from paretoprune.core.registries import Registry as Registry
from paretoprune.errors import UnknownNameError

_search = "paretoprune.search"
strategies = Registry("strategy", [
    Entry("random", f"{_search}.random:RandomSearch", "uniform sampling of the space"),
    Entry("grid", f"{_search}.grid:GridSearch", "every point of a space's lattice, thinned to fit the budget"),
    Entry("tpe", f"{_search}.optuna_samplers:TPE", "Optuna's tree-structured Parzen estimator, multi-objective"),
    Entry("nsga2", f"{_search}.optuna_samplers:NSGAII", "Optuna's NSGA-II"),
    Entry("nsga3", f"{_search}.optuna_samplers:NSGAIII", "Optuna's NSGA-III, by reference directions"),
    Entry("gp", f"{_search}.optuna_samplers:GP", "Optuna's Gaussian processes, expected hypervolume improvement"),
    Entry("qmc", f"{_search}.optuna_samplers:QMC", "a scrambled Sobol or Halton sequence"),
    Entry("pymoo-nsga2", f"{_search}.pymoo_algorithms:PymooNSGA2", "pymoo's NSGA-II on the unit cube"),
    Entry("pymoo-nsga3", f"{_search}.pymoo_algorithms:PymooNSGA3", "pymoo's NSGA-III, by reference directions"),
    Entry("pymoo-moead", f"{_search}.pymoo_algorithms:PymooMOEAD", "pymoo's MOEA/D, a scalar problem per direction"),
    Entry("pymoo-sms-emoa", f"{_search}.pymoo_algorithms:PymooSMSEMOA", "pymoo's SMS-EMOA, by hypervolume contributions"),
    Entry("pymoo-rvea", f"{_search}.pymoo_algorithms:PymooRVEA", "pymoo's RVEA, by angles to reference directions"),
    Entry("halving", f"{_search}.halving:SuccessiveHalving", "successive halving: many candidates on few samples, the best on all"),
    Entry("g-search", f"{_search}.g_search:GSearch", "least tokens per layer within a tolerance, from shallow to deep (arXiv 2412.00556)"),
    Entry("p-sigmoid", f"{_search}.p_sigmoid:PSigmoid", "a sigmoid scaled to compute targets, its shape by Bayesian optimisation (arXiv 2412.00556)"),
    Entry("fitprune", f"{_search}.fitprune:FitPruneSearch", "from attention statistics, a divergence threshold bisected to compute targets (arXiv 2409.10197)"),
    Entry("vtw", f"{_search}.vtw:VTWSearch", "first layer whose withdrawal changes the output less than a threshold (arXiv 2405.05803)"),
    Entry("autoprune", f"{_search}.autoprune:AutoPruneSearch", "per sample a logistic curve scaled to token budgets, its slope from attention (arXiv 2509.23931)"),
    Entry("gradient", f"{_search}.gradient.lagrangian:LagrangianSearch", "straight-through top-k, KL to dense, augmented Lagrangian per budget (after VisPCO)"),
    Entry("hybrid", f"{_search}.hybrid:Hybrid", "the gradient search's front as the first generation of NSGA-II, or as trials of TPE"),
    Entry("adaptive", f"{_search}.gradient.adaptive:AdaptiveSearch", "a predictor of schedules from input and budget, trained for all mean budgets at once"),
    Entry("vispco", f"{_search}.gradient.vispco:Vispco", "VisPCO as published: score-space threshold, one multiplier, a predictor from input and budget (arXiv 2604.15188)"),
], base="paretoprune.core.strategy:SearchStrategy")  # fmt: skip
_kernels = "paretoprune.schedules.kernels"
kernels = Registry("kernel", [
    Entry("single-step", f"{_kernels}.single_step:SingleStep", "all tokens up to a layer, one keep ratio after it"),
    Entry("multi-step", f"{_kernels}.multi_step:MultiStep", "two drops, each at its own layer"),
    Entry("three-step", f"{_kernels}.multi_step:ThreeStep", "three drops, each at its own layer"),
    Entry("four-step", f"{_kernels}.multi_step:FourStep", "four drops, each at its own layer"),
    Entry("linear", f"{_kernels}.ramps:Linear", "equal drops from one layer to another"),
    Entry("cosine", f"{_kernels}.ramps:Cosine", "the same with gentle ends"),
    Entry("sigmoid", f"{_kernels}.sigmoid:Sigmoid", "a drop around a layer, as steep as its width says"),
    Entry("exponential", f"{_kernels}.exponential:Exponential", "from a layer on, halfway to the keep ratio every so many layers"),
    Entry("free", f"{_kernels}.free:Free", "one keep ratio per layer, non-increasing"),
], base="paretoprune.schedules.kernels.base:Kernel", named="name")  # fmt: skip
_policies = "paretoprune.pruning.policies"
policies = Registry("policy", [
    Entry("static", f"{_policies}.static:Static", "one keep schedule for every input"),
    Entry("autoprune", f"{_policies}.autoprune:AutoPrune", "a logistic curve, as steep as text and picture have little to tell each other (arXiv 2509.23931)"),
    Entry("predictor", f"{_policies}.predictor:Predicted", "a trained network from picture, question and budget to a kernel's parameters (after VisPCO)"),
    Entry("vispco", f"{_policies}.vispco:VispcoPolicy", "VisPCO's predictor: every input token and the budget, to a kernel's parameters (arXiv 2604.15188)"),
], base="paretoprune.pruning.policies.base:Policy", named="name")  # fmt: skip
_pruning = "paretoprune.pruning.pruners"
pruners = Registry("pruner", [
    Entry("fastv", f"{_pruning}.fastv:FastV", "attention of the last prompt token in the layer before (arXiv 2403.06764)"),
    Entry("pyramiddrop", f"{_pruning}.pyramiddrop:PyramidDrop", "attention of the last prompt token in the layer after (arXiv 2410.17247)"),
    Entry("fitprune", f"{_pruning}.fitprune:FitPrune", "visual self-attention times text cross-attention, maximum over heads (arXiv 2409.10197)"),
    Entry("sparsevlm", f"{_pruning}.sparsevlm:SparseVLM", "attention of the words that see the picture; recycles some of what goes (arXiv 2410.04417)"),
    Entry("dart", f"{_pruning}.dart:DART", "least similar to a few pivot tokens (arXiv 2502.11494)"),
    Entry("divprune", f"{_pruning}.divprune:DivPrune", "farthest from each other, greedily (arXiv 2503.02175)"),
    Entry("cdpruner", f"{_pruning}.cdpruner:CDPruner", "determinantal point process conditioned on the question (arXiv 2506.10967)"),
    Entry("fastervlm", f"{_pruning}.fastervlm:FasterVLM", "attention of the vision encoder's class token (arXiv 2412.01818v1)"),
    Entry("vispruner", f"{_pruning}.vispruner:VisPruner", "class attention for some, de-duplication for the others (arXiv 2412.01818v2)"),
    Entry("visionzip", f"{_pruning}.visionzip:VisionZip", "class attention; the others merge into contextual tokens (arXiv 2412.04467)"),
    Entry("topv", f"{_pruning}.topv:TopV", "what the layer's output is made of, by optimal transport (arXiv 2503.18278)"),
    Entry("vtw", f"{_pruning}.vtw:VTW", "all visual tokens leave at one layer (arXiv 2405.05803)"),
    Entry("tome", f"{_pruning}.tome:ToMe", "bipartite matching merges similar tokens (arXiv 2210.09461)"),
    Entry("aim", f"{_pruning}.aim:AIM", "merging before the decoder, PageRank on attention in it (arXiv 2412.03248)"),
    Entry("uniform", f"{_pruning}.uniform:Uniform", "a control: tokens spread evenly over the picture"),
    Entry("centre", f"{_pruning}.centre:Centre", "a control: the middle of the picture"),
    Entry("random", f"{_pruning}.random:RandomPruner", "a control: the same random order in every layer"),
], base="paretoprune.pruning.base:Pruner", named="name")  # fmt: skip
adapters = Registry("adapter", [
    Entry("llava", "paretoprune.adapters.llava:LlavaAdapter", "LLaVA-1.5, LLaVA-NeXT, LLaVA-OneVision"),
    Entry("qwen2_5_vl", "paretoprune.adapters.qwen2_5_vl:QwenVLAdapter", "Qwen2-VL and Qwen2.5-VL: dynamic resolution, video, M-RoPE"),
    Entry("internvl", "paretoprune.adapters.internvl:InternVLAdapter", "InternVL in transformers: tiles, pixel shuffle"),
    Entry("generic", "paretoprune.adapters.generic:GenericAdapter", "any other family of transformers, checked against its own logits on load"),
], base="paretoprune.adapters.base:Adapter")  # fmt: skip
_benchmarks = "paretoprune.tasks.benchmarks"
tasks = Registry("task", [
    Entry("minivqa", "paretoprune.tasks.minivqa.dataset:load_split", "eight question families on drawn pictures, no download"),
    Entry("minivqa-sizes", "paretoprune.tasks.minivqa.dataset:load_sizes_split", "the same on pictures of two sizes, for dynamic resolution"),
    Entry("pictures", "paretoprune.tasks.calibration.pictures:Pictures", "a folder of pictures with questions, answers optional; needs --data"),
    Entry("llava-instruct", "paretoprune.tasks.calibration.llava_instruct:LLaVAInstruct", "conversations about pictures (arXiv 2304.08485); needs --data"),
    Entry("mme", f"{_benchmarks}.mme:MME", "yes or no in pairs, accuracy+ (arXiv 2306.13394); needs --data"),
    Entry("mmbench", f"{_benchmarks}.mmbench:MMBench", "multiple choice, circular (arXiv 2307.06281); needs --data"),
    Entry("seedbench", f"{_benchmarks}.seedbench:SEEDBench", "multiple choice on pictures and videos (arXiv 2307.16125); needs --data"),
    Entry("ocrbench", f"{_benchmarks}.ocrbench:OCRBench", "answers contained in what is said (arXiv 2305.07895); needs --data"),
    Entry("chartqa", f"{_benchmarks}.chartqa:ChartQA", "numbers within 5 % (arXiv 2203.10244); needs --data"),
    Entry("aokvqa", f"{_benchmarks}.aokvqa:AOKVQA", "choices or free answers with knowledge (arXiv 2206.01718); needs --data"),
    Entry("textvqa", f"{_benchmarks}.vqa:TextVQA", "VQA soft accuracy on text in pictures (arXiv 1904.08920); needs --data"),
    Entry("vizwiz", f"{_benchmarks}.vqa:VizWiz", "VQA soft accuracy, some unanswerable (arXiv 1802.08218); needs --data"),
    Entry("pope", f"{_benchmarks}.pope:POPE", "yes or no about things that may be absent, F1 (arXiv 2305.10355); needs --data"),
])  # fmt: skip
problems = Registry("problem", [
    Entry("compression", "paretoprune.compression.problem:Compression", "score against cost of a model compressed by one technique or several"),
    Entry("zdt1", "paretoprune.compression.analytic:ZDT1", "two-objective test problem with a known convex front"),
    Entry("dtlz2", "paretoprune.compression.analytic:DTLZ2", "three-objective test problem with a known spherical front"),
], base="paretoprune.core.problem:Problem", named="name")  # fmt: skip
_techniques = "paretoprune.techniques"
techniques = Registry("technique", [  # in the order in which a problem has them
    Entry("tokens", f"{_techniques}.tokens:Tokens", "visual tokens kept in each decoder layer, and which"),
    Entry("weight_bits", f"{_techniques}.weight_bits:WeightBits", "3, 4, 8 or 16 bits per group of weights, packed by HQQ"),
    Entry("kv_bits", f"{_techniques}.kv_bits:KvBits", "2, 4, 8 or 16 bits for keys and values (after arXiv 2401.18079)"),
], base=f"{_techniques}.base:Technique", named="name")  # fmt: skip
_published = "paretoprune.schedules.presets.published"
presets = Registry("preset", [
    Entry("fastv", f"{_published}:fastv", "one drop early in the decoder (arXiv 2403.06764)"),
    Entry("pyramiddrop", f"{_published}:pyramiddrop", "half of the tokens at each of three layers (arXiv 2410.17247)"),
    Entry("sparsevlm", f"{_published}:sparsevlm", "three drops, some tokens recycled (arXiv 2410.04417)"),
    Entry("dart", f"{_published}:dart", "one drop behind two layers (arXiv 2502.11494)"),
    Entry("divprune", f"{_published}:divprune", "one drop before the decoder (arXiv 2503.02175)"),
    Entry("cdpruner", f"{_published}:cdpruner", "one drop before the decoder (arXiv 2506.10967)"),
    Entry("fastervlm", f"{_published}:fastervlm", "one drop before the decoder (arXiv 2412.01818v1)"),
    Entry("vispruner", f"{_published}:vispruner", "one drop before the decoder (arXiv 2412.01818v2)"),
    Entry("visionzip", f"{_published}:visionzip", "merged before the decoder (arXiv 2412.04467)"),
    Entry("vtw", f"{_published}:vtw", "all tokens leave at one layer (arXiv 2405.05803)"),
])  # fmt: skip

ALL = (strategies, techniques, pruners, kernels, policies, adapters, tasks, problems, presets)


def find_registry(kind: str) -> Registry:
    """The registry of one kind, singular or plural; raises `UnknownNameError`."""
    for registry in ALL:
        if kind.lower() in (registry.kind, registry.plural):
            return registry
    raise UnknownNameError("kind", kind, [r.kind for r in ALL])


def unread_packages() -> dict[str, str]:
    """Installed packages whose plug-ins nothing reads, by name and version, and why."""
    return registries.unread_packages(ALL)
