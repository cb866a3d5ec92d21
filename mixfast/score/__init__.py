"""Score texts with Hugging Face models: one expert for each domain in, an ExpertTable out.

MixMin and MDE choose a mixture from what models trained on single domains say about target texts. This room computes
that: log p of every token of the texts under every expert, summed for each document or kept for each token. Finished parts
are kept on disk, so that a run that was interrupted goes on, and processes started by ``torchrun`` share the work.

Nouns:

- `Document`: one text to score, after a prompt if there is one.
- `Scores`: what one model says about some documents.
- `Progress`: how far a run is.

Verbs: `score` runs all experts over all texts and returns the table; `score_documents` scores with one model that is
loaded already; `read_texts` reads documents from files.

torch, transformers and pyarrow are imported when they are needed, not with this module.

Read the files in this order: `_score` (what users call); for one model `_texts` (documents; `_packed` decompresses their files), `_tokens` (documents as tokens),
`_windows`, `_models` (what is asked of a model), `_head` (log p from hidden states), `_scorer`; for a whole run `_experts`
(folders of models; `_not_models` says what else a path may be), `_loading`, `_plan` (every choice made), `_part_file` and `_run_file` (files of finished
parts, and what they are of), `_shards` (their folder), `_ranks` (processes of one run),
`_run` (all of it, and parts to a table).
"""

from mixfast.score._run import Progress
from mixfast.score._score import read_texts, score, score_documents
from mixfast.score._scorer import Scores
from mixfast.score._texts import Document

__all__ = ["Document", "Progress", "Scores", "read_texts", "score", "score_documents"]
