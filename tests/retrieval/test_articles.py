import torch

from hf_newsmatch import rank_articles


def test_rank_articles_is_embedding_and_ranking(model, processor, pairs):
    ranking = rank_articles(model, processor, pairs, pairs, ["title"], k=3, progress=False)
    with torch.no_grad():
        inputs = processor(text=pairs["title"][:], images=pairs["image"][:], padding=True, return_tensors="pt")
        similarities = model(**inputs).logits_per_text
    assert ranking.article_ids == pairs["article_id"][:]
    assert ranking.image_ids == [[f"p{index}" for index in row] for row in similarities.topk(3).indices.tolist()]
