"""What the checks of the finished command share: counting, and running one after the other."""
import sys
import time


class Checks:
    """Methods check_NAME are the checks; `title` says what of."""
    title = ""
    passed = failed = 0

    def expect(self, name, good, why=""):
        if good:
            self.passed += 1
        else:
            self.failed += 1
            print(f"{self.title} {name}: failed: {why}")

    def run_all(self, only=None):
        """All of them, or those named; ends the process."""
        for name in sorted(n[6:] for n in dir(self) if n.startswith("check_")):
            if only and name not in only:
                continue
            start = time.time()
            try:
                getattr(self, "check_" + name)()
            except Exception as e:  # a check that breaks is a check that failed
                self.expect(name, False, repr(e))
            print(f"{self.title} {name}: {time.time() - start:.1f} s", flush=True)
        print(f"{self.title}: {self.passed} passed, {self.failed} failed")
        sys.exit(1 if self.failed else 0)
