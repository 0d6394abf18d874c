"""What the tests of stores read: texts, and the credentials of a server of S3 on this machine."""

import json

KEY, SECRET = "AKIAMIXWRIGHTKEY0001", "vErY/SeCrEt/mIxWrIgHt0001"
WEB = [f"a page about rivers, number {i}" for i in range(40)]
LAW = [f"the court of appeal held in case {i}" for i in range(40)]


def lines(texts):
    return "".join(json.dumps({"text": text}) + "\n" for text in texts).encode()
