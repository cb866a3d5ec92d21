"""Score texts with Hugging Face models: one expert for each domain in, an ExpertTable out."""

from mixfast.score._score import Document, Progress, Scores, read_texts, score, score_documents

__all__ = ["Document", "Progress", "Scores", "read_texts", "score", "score_documents"]
