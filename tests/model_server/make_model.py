"""Writes a tiny model in llama.cpp's format: the architecture of Llama, random weights of a fixed
seed, a vocabulary of bytes and a few words. Its text is nonsense, its token counts are real.

Usage: make_model.py FILE
"""

import sys

import gguf
import numpy

WIDTH, HEADS, FEED_FORWARD, CONTEXT = 64, 4, 128, 512
WORDS = "▁the ▁river ▁Nile ▁which ▁long ▁is ▁a ▁of ▁sea ▁to ▁and ▁in th he er in an re on".split()


def main(path):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("permille-test")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)

    kind = gguf.TokenType
    tokens = [("<unk>", 0.0, kind.UNKNOWN), ("<s>", 0.0, kind.CONTROL), ("</s>", 0.0, kind.CONTROL)]
    tokens += [(f"<0x{byte:02X}>", 0.0, kind.BYTE) for byte in range(256)]
    letters = sorted({letter for word in WORDS for letter in word})
    tokens += [(letter, -1000.0, kind.NORMAL) for letter in letters]
    # Every beginning of a word, so that merges reach the whole of it.
    parts = {word[:end] for word in WORDS for end in range(2, len(word) + 1)}
    tokens += [(part, -float(len(part) < 9) - i, kind.NORMAL) for i, part in enumerate(sorted(parts))]
    writer.add_tokenizer_model("llama")
    writer.add_vocab_size(len(tokens))
    writer.add_token_list([text for text, _, _ in tokens])
    writer.add_token_scores([score for _, score, _ in tokens])
    writer.add_token_types([int(kind) for _, _, kind in tokens])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(True)

    random = numpy.random.default_rng(20261126)

    def tensor(name, *shape):
        writer.add_tensor(name, random.normal(0, 0.5, shape).astype(numpy.float32))

    def norm(name):
        writer.add_tensor(name, numpy.ones(WIDTH, dtype=numpy.float32))

    tensor("token_embd.weight", len(tokens), WIDTH)
    norm("output_norm.weight")
    tensor("output.weight", len(tokens), WIDTH)
    norm("blk.0.attn_norm.weight")
    for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
        tensor(f"blk.0.{part}.weight", WIDTH, WIDTH)
    norm("blk.0.ffn_norm.weight")
    tensor("blk.0.ffn_gate.weight", FEED_FORWARD, WIDTH)
    tensor("blk.0.ffn_up.weight", FEED_FORWARD, WIDTH)
    tensor("blk.0.ffn_down.weight", WIDTH, FEED_FORWARD)

    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


main(sys.argv[1])
