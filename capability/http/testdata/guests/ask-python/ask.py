# Ask makes each request that it reads, a line each, and writes the answers.
import sys

with open("/net/http", "r+b", buffering=0) as f:
    for line in sys.stdin.buffer:
        f.write(line)
        sys.stdout.buffer.write(f.readall())
