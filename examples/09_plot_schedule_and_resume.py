"""
A loader with a schedule, stopped and resumed
=============================================

A ``MixtureSampler`` says which sample of which domain comes next, for every step of a training run. The example reads
two domains in PyTorch's ``DataLoader``, with more code towards the end, and prints how the shares develop. Then it stops
after 60 batches, saves the state as JSON, and goes on with another number of workers: the samples are the same.
"""

import json

import matplotlib.pyplot as plt

import mixfast
from mixfast import loaders, report

# %%
# A source is anything with ``len()`` and ``[i]``, such as a Hugging Face data set. Here each sample is a string.

sources = {"web": [f"web {i}" for i in range(1000)], "code": [f"code {i}" for i in range(150)]}
early, late = mixfast.Mixture({"web": 0.9, "code": 0.1}), mixfast.Mixture({"web": 0.6, "code": 0.4})
schedule = mixfast.MixtureSchedule(early).ramp(late, start=800, stop=1200)
stream = mixfast.MixtureSampler(schedule, loaders.sizes(sources), seed=0, length=1600, max_epochs={"code": 4})

# %%
# The counts are exact: at every sample each domain is within 1.5 samples of its share. ``epoch`` tells how often a domain has
# been read before.

for start in range(0, 1600, 400):
    domain, _, epoch = stream.positions(start, start + 400)
    code = domain == stream.domains.index("code")
    print(f"samples {start:4} to {start + 399:4}: {code.mean():.1%} code, in epoch {epoch[code].max()} at the end")

figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
report.schedule(stream, ax=axes)
plt.show()

# %%
# The workers of the loader read the sources in the order of the stream.

data = loaders.StreamDataset(stream, sources, batch_size=16)
whole = list(data.loader())
print(f"{len(whole)} batches; the first begins with {whole[0][:6]}")

# %%
# Stop after 60 batches and go on. The state holds a few numbers and names, whatever the number of ranks and workers.

saved = json.dumps(data.state_after(60 * 16))
print(saved)

again = loaders.StreamDataset(stream, sources, batch_size=16)
again.load_state_dict(json.loads(saved))
rest = list(again.loader(num_workers=2))
print(f"{len(rest)} batches after the restart; the same samples as without a stop: {rest == whole[60:]}")

# %%
# A state is refused by a stream whose past is another one, for example one with another seed.

other = mixfast.MixtureSampler(schedule, loaders.sizes(sources), seed=1)
try:
    loaders.StreamDataset(other, sources, batch_size=16).load_state_dict(json.loads(saved))
except mixfast.errors.SamplerError as refusal:
    print(refusal)
