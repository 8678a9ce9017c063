from __future__ import annotations

import torch

from efq.toolchain.losses import EmbeddingBank


def test_an_image_is_never_paired_with_itself() -> None:
    bank = EmbeddingBank(torch.tensor([0, 0, 1, 1, 2]), 2)
    assert not bank.available(torch.tensor([0])).any()
    bank.update(torch.tensor([0, 1, 3]), torch.ones(3, 2), torch.ones(3, 2))
    assert bank.available(torch.tensor([1, 4])).tolist() == [True, False, False, True, False]
    assert bank.filled.tolist() == [True, True, False, True, False]


def test_keeps_the_latest_embeddings_without_gradient_and_reloads() -> None:
    labels = torch.tensor([0, 1])
    bank = EmbeddingBank(labels, 2)
    bank.update(torch.tensor([1]), torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]))
    bank.update(torch.tensor([1]), torch.tensor([[0.6, 0.8]]).requires_grad_(), torch.tensor([[0.8, 0.6]]))
    assert not bank.student.requires_grad
    reloaded = EmbeddingBank(labels, 2)
    reloaded.load_state_dict(bank.state_dict())
    torch.testing.assert_close(reloaded.student, torch.tensor([[0.0, 0.0], [0.6, 0.8]]))
    torch.testing.assert_close(reloaded.teacher, torch.tensor([[0.0, 0.0], [0.8, 0.6]]))
    assert reloaded.filled.tolist() == [False, True]
