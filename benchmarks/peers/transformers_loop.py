"""The straightforward loop of transformers: batches of 8 documents in their order, padded, all logits in float32, log-softmax, gather."""

import numpy as np

from benchmarks.peers import lacks

name, job = "transformers loop", "score"

BATCH = 8


def reason():
    """Return why this peer cannot run here, or None."""
    return lacks("torch", "transformers")


def run(case):
    """Log-likelihoods of the documents, (D,)."""
    import torch

    model, out = case.model, []
    for start in range(0, len(case.texts), BATCH):
        ids = [torch.tensor([0, *case.tokenizer(text)["input_ids"]]) for text in case.texts[start : start + BATCH]]
        batch = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=0).to(model.device)
        sizes = torch.tensor([one.numel() for one in ids], device=model.device)
        mask = torch.arange(batch.shape[1], device=model.device) < sizes[:, None]
        with torch.inference_mode():
            logits = model(batch[:, :-1], attention_mask=mask[:, :-1].long(), use_cache=False).logits.float()
            values = logits.log_softmax(dim=2).gather(2, batch[:, 1:, None]).squeeze(2)
            out.append((values.double() * mask[:, 1:]).sum(dim=1).cpu().numpy())
    return np.concatenate(out)
