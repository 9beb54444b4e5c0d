"""Makes the bucket of MinIO, unless it is there; the Job's pod is started again until it can."""

import os
from urllib.parse import urlsplit

from minio import Minio

url = urlsplit(os.environ["ENDPOINT"])
keys = {"access_key": os.environ["ACCESS_KEY"], "secret_key": os.environ["SECRET_KEY"]}
client = Minio(url.netloc, **keys, secure=url.scheme == "https")
if not client.bucket_exists(os.environ["BUCKET"]):
    client.make_bucket(os.environ["BUCKET"])
