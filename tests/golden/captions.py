"""Records captions.json: what pycocoevalcap makes of the captions below.

    pip install pycocoevalcap==1.2 pycocotools==2.0.11 numpy && python captions.py > captions.json

The scorers get text that is tokenised already. The lines under "tokens" are PTBTokenizer's (it needs Java).
"""

import contextlib
import importlib.metadata
import io
import json
import platform

from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

# name: [(candidate, references)]
CORPORA = {
    "several references": [
        ("a cat sits on the mat", ["a cat is sitting on the mat", "the cat sits on a mat", "there is a cat on a rug"]),
        ("two dogs run through the snow", ["two dogs are running in the snow", "dogs play in deep snow"]),
        ("a man rides a horse", ["a man riding a brown horse on the beach", "a person on a horse", "a man rides a horse"]),
        ("the red bus", ["a red double decker bus drives down the street", "the bus is red"]),
    ],
    "labels, one reference": [
        ("red heart", ["red heart"]),
        ("woman medium-dark skin tone curly hair", ["man medium-dark skin tone curly hair"]),
        ("thumbs up light skin tone", ["thumbs down light skin tone"]),
        ("grinning face with big eyes", ["grinning face with smiling eyes"]),
        ("tomato", ["automobile"]),
        ("panda", ["penguin"]),
        ("keycap *", ["keycap #"]),
    ],
    "empty candidate": [
        ("", ["a cat on a mat", "one cat"]),
        ("a dog", ["a dog"]),
        ("the sea at night", ["the sea at night", "waves"]),
    ],
    "nothing but empty candidates": [("", ["red heart"]), ("", ["blue heart"])],
    "one word": [("sun", ["sun"]), ("moon", ["star"]), ("star", ["star", "moon"])],
    "repeated words": [
        ("the the the the the the the", ["the cat is on the mat", "there is a cat on the mat"]),
        ("no no no way no way", ["no way no", "no no no no"]),
        ("a b a b a b c", ["a b a b c a b", "b a b a"]),
    ],
    "single picture": [("a cat on the mat", ["a cat on a mat", "the mat under a cat"])],
    "punctuation that stays": [
        ("50 % off -lrb- today -rrb-", ["50 % off", "half price -lrb- today only -rrb-"]),
        ("fish & chips", ["fish & chips at 3:30 p.m.", "it 's fish & chips"]),
        ("d'ivoire 's flag", ["flag côte d’ivoire", "the flag of côte d'ivoire"]),
    ],
    "between two lengths": [
        # a reference as much shorter as another is longer: the shorter one counts
        ("one two three four five", ["one two three", "one two three four five six seven"]),
        ("a a a a", ["a a a a a a", "a a"]),
        ("much longer than any of its references are", ["much longer", "longer than any"]),
    ],
}

TEXTS = [
    "A man's dog, running (fast) in the snow.", "don't stop!", "Woman: medium-dark skin tone, curly hair", "keycap: *", "keycap: #",
    "face with tears of joy", "Japanese “acceptable” button", "woman’s sandal", "O button (blood type)", "ON! arrow",
    "flag: Côte d’Ivoire", "two   spaces\tand a tab", "high-speed train", "1,000 people at 3:30 p.m.", "the dogs' bowls",
    'a "quoted" word', "fish & chips", "50% off", "T-shirt -- blue", "wait... what?", "piñata; Überraschung", "[sic] {braces}",
    "red/blue", "it's they're we'll I'd I've", "can't won't", "black dog,white cat", "", "...", "U.S. flag", "hello–world — dash",
    "ok hand : light", "1st place medal", "$5 bill", "x:y", "kiss: man, man, dark skin tone, light skin tone", "#1", "a*b", "mid-air",
    "face (sad", "smile)", "A cat. A dog.", "'quoted'", "e.g. this",
]


def main():
    corpora = []
    for name, cases in CORPORA.items():
        results = {i: [candidate] for i, (candidate, _) in enumerate(cases)}
        truths = {i: references for i, (_, references) in enumerate(cases)}
        bleu, bleus = Bleu(4).compute_score(truths, results, verbose=0)
        rouge, rouges = Rouge().compute_score(truths, results)
        cider, ciders = Cider().compute_score(truths, results)
        corpora.append({
            "name": name,
            "bleu": bleu,
            "rouge_l": float(rouge),
            "cider_d": float(cider),
            "cases": [
                {"candidate": candidate, "references": references, "rouge_l": float(rouges[i]), "cider_d": float(ciders[i])}
                for i, (candidate, references) in enumerate(cases)
            ],
        })
    with contextlib.redirect_stdout(io.StringIO()):
        tokens = PTBTokenizer().tokenize({i: [{"caption": text}] for i, text in enumerate(TEXTS)})
    version = importlib.metadata.version
    print(json.dumps({
        "generator": "captions.py",
        "pycocoevalcap": version("pycocoevalcap"),
        "numpy": version("numpy"),
        "python": platform.python_version(),
        "corpora": corpora,
        "tokens": [[text, tokens[i][0]] for i, text in enumerate(TEXTS)],
    }, indent=1, ensure_ascii=False))


main()
