"""Score texts with Hugging Face models: one expert for each domain in, an ExpertTable out.

MixMin and MDE choose a mixture from the log-likelihoods of target texts under models trained on single domains. This room computes
them: log p of every token of the texts under every expert, summed for each document or kept for each token. Finished parts
are stored on disk, so an interrupted run can continue, and processes started by ``torchrun`` share the work.

Classes:

- `Document`: one text to score, after a prompt if there is one.
- `Scores`: log-probabilities of some documents under one model.
- `Progress`: the progress of a run.

Functions: `score` runs all experts over all texts and returns the table; `score_documents` scores with a model that is already
loaded; `read_texts` reads documents from files.

torch, transformers and pyarrow are imported when they are needed, not with this module.

Read the files in this order: `_score` (what users call); for one model `_texts` (documents; `_packed` decompresses their files), `_tokens` (documents as tokens),
`_windows`, `_models` (the methods that a model needs), `_head` (log p from hidden states), `_scorer`; for a whole run `_experts`
(folders of models; `_not_models` recognises other kinds of paths), `_loading`, `_plan` (all choices of a run), `_part_file` and `_run_file`
(files of finished parts, and the description of their run), `_shards` (their folder), `_join` (parts as rows of a table), `_result` (a
folder of parts as the result), `_run` (the whole run).
"""

from mixfast.score._run import Progress
from mixfast.score._score import read_texts, score, score_documents
from mixfast.score._scorer import Scores
from mixfast.score._texts import Document
from mixfast.score._texts import Texts as Texts

__all__ = ["Document", "Progress", "Scores", "read_texts", "score", "score_documents"]
