"""Keep COUNT copies of a task on a cluster, spread over its hosts, where most memory is free.

    python custom_scheduler.py CLUSTER NAME TASK_DEFINITION MIB COUNT

docs/custom-scheduler.md explains every step. What it starts stands in ./NAME.starts: keep that.
"""

import fcntl, json, os, secrets, signal, sys, time  # noqa: E401
from collections import Counter
from http.client import HTTPException
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import boto3
from botocore.config import Config

CSS = "http://" + os.environ.get("BLOX_CSS_ENDPOINT", "127.0.0.1:3000").removeprefix("http://")
DOUBT = float(os.environ.get("DOUBT_SECONDS", "660"))  # after it, what ECS does not show is not
RETRY = float(os.environ.get("RETRY_SECONDS", "30"))  # from one start of a copy to its next


def ask(path, query=(), method="GET"):  # heartbeats come every 15 s: 40 s of silence are a cut
    return urlopen(Request(f"{CSS}{path}?{urlencode(query)}", method=method), timeout=40)


class Spread:
    def __init__(self, cluster, name, definition, mib, count):
        self.cluster, self.name, self.definition, self.mib = cluster, name, definition, int(mib)
        self.copies, self.position = [f"{name}/{n}" for n in range(int(count))], None
        self.journal = open(f"{name}.starts", "a+")
        fcntl.flock(self.journal, fcntl.LOCK_EX | fcntl.LOCK_NB)  # there must be only one of us
        self.starts = {one["copy"]: one for one in map(json.loads, open(f"{name}.starts"))}
        self.ecs = boto3.client("ecs", config=Config(retries={"total_max_attempts": 1}))

    def list(self):  # all our tasks and all hosts; the first answer says from where to follow
        self.known, first = {"task": {}, "instance": {}}, None
        for kind, more in (("task", {"group": self.name}), ("instance", {})):
            query = {"cluster": self.cluster, "limit": 1000, **more}
            while query:
                page = json.load(ask(f"/v2/{kind}s", query))
                self.known[kind].update({item["arn"]: item[kind] for item in page["items"]})
                first = first or page["position"]
                query = "nextToken" in page and {**query, "nextToken": page["nextToken"]}
        self.position = first

    def follow(self):  # keep them up to date; comes back after every message
        self.swept, self.tickets = {"epoch": None}, {}
        query = {"cluster": self.cluster, "group": self.name, "position": self.position}
        for line in ask("/v2/stream", {**query, "kinds": "tasks,instances,clusters"}):
            message = json.loads(line)
            event, data = message["event"], message["data"]
            if event in self.known:
                self.known[event][data["arn"]] = data[event]
            elif event == "deleted":
                self.known.get(data["kind"], {}).pop(data["arn"], None)
            self.swept = data["sweep"] if event == "cluster" else self.swept
            self.position = None if event == "reset" else message["position"]
            yield

    def sure(self, of):  # a sweep began after we asked, is complete, and we heard all it found
        if of not in self.tickets:
            self.tickets[of] = json.load(ask(f"/v2/clusters/{self.cluster}/sweep", (), "POST"))
        at = self.tickets[of]
        return self.swept["epoch"] == at["epoch"] and self.swept["number"] >= at["sweep"]

    def missing(self, copy):  # none is alive, and we know what became of its last start
        last = self.starts.get(copy, {"at": 0.0, "refused": "never started"})
        ours = {t.get("startedBy", ""): t["lastStatus"] for t in self.known["task"].values()}
        over = last["refused"] or last["mark"] in ours  # else it may still be on its way
        if time.time() < last["at"] + (RETRY if over else DOUBT):
            return False
        gone = all(ours[m] in ("STOPPED", "DELETED") for m in ours if m.startswith(f"{copy}/"))
        return gone and (over or self.sure(last["mark"]))

    def host(self):  # the one with the fewest copies, then with the most memory
        copies, free = Counter(s["host"] for s in self.starts.values() if not s["refused"]), {}
        for arn, host in self.known["instance"].items():
            left = {one["name"]: one.get("integerValue") for one in host["remainingResources"]}
            if host["status"] == "ACTIVE" and host["agentConnected"] and left["MEMORY"] >= self.mib:
                free[arn] = left["MEMORY"]
        return min(free, key=lambda arn: (copies[arn], -free[arn]), default=None)

    def start(self, copy, host):
        mark = f"{copy}/{secrets.token_hex(4)}"  # StartTask has no client token: this is ours
        start = {"copy": copy, "mark": mark, "host": host, "at": time.time(), "refused": ""}
        self.keep(start)  # before the call: whatever happens to us, it is not forgotten
        what = {"cluster": self.cluster, "taskDefinition": self.definition, "group": self.name}
        try:
            answer = self.ecs.start_task(**what, containerInstances=[host], startedBy=mark)
            start["refused"] = ", ".join(failure["reason"] for failure in answer["failures"])
        except Exception as error:  # no answer, or a 5xx: it may have been carried out
            answer = (getattr(error, "response", None) or {}).get("ResponseMetadata", {})
            start["refused"] = str(error) if 400 <= answer.get("HTTPStatusCode", 0) < 500 else ""
            mark = f"{mark}, perhaps: {error}"
        self.keep(start)
        print(f"{copy} on {host}: {start['refused'] or mark}", flush=True)

    def keep(self, start):
        self.starts[start["copy"]] = start
        print(json.dumps(start), file=self.journal, flush=True)
        os.fsync(self.journal.fileno())

    def run(self):
        while True:
            try:
                self.position or self.list()
                for _ in self.follow():
                    for copy in self.copies if self.sure("fresh") else ():
                        if self.missing(copy) and (host := self.host()):
                            self.start(copy, host)
            except (OSError, HTTPException, ValueError) as error:
                code = getattr(error, "code", 0)  # of an answer, whose body says why
                print(error, error.read().decode() if code else "; again in a second", flush=True)
                code in (400, 404) and sys.exit(1)  # no such cluster: not ours to mend
                self.position = None if code == 410 else self.position
            time.sleep(1)


if __name__ == "__main__":
    len(sys.argv) == 6 and "".join(sys.argv[4:]).isdigit() or sys.exit(__doc__)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    Spread(*sys.argv[1:]).run()
