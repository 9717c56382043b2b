"""What a process costs: processor time and memory, as the kernel counts them."""
import os


class Cost:
    """What a process uses between reset() and now."""

    def __init__(self, pid):
        self.folder = "/proc/%d/" % pid

    def status(self, key):
        with open(self.folder + "status") as file:
            for line in file:
                if line.startswith(key + ":"):
                    return int(line.split()[1]) << 10

    def cpu_seconds(self):
        with open(self.folder + "stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def reset(self):
        with open(self.folder + "clear_refs", "w") as file:
            file.write("5")  # the peak begins anew
        self.idle_bytes, self.begin = self.status("VmRSS"), self.cpu_seconds()

    def peak_bytes(self):
        return self.status("VmHWM") - self.idle_bytes

    def used_seconds(self):
        return self.cpu_seconds() - self.begin
