package runner

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of /proc/stat: 1/100 s on every Linux that Go runs on.
const tick = 10 * time.Millisecond

// usage is the memory (in bytes), threads and descriptors of a process at one moment.
type usage struct {
	Resident    int64 `json:"rss_bytes"`
	Anonymous   int64 `json:"rss_anonymous_bytes"` // heap, stacks, what belongs to the process alone
	FileBacked  int64 `json:"rss_file_bytes"`      // program text and mapped files: the kernel may drop it
	Peak        int64 `json:"peak_rss_bytes"`      // of Resident, since the process began
	Threads     int64 `json:"threads"`
	Descriptors int64 `json:"descriptors"`
}

func processUsage(pid int) (usage, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return usage{}, err
	}
	u, err := parseStatus(b)
	if err != nil {
		return usage{}, err
	}
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	u.Descriptors = int64(len(open))
	return u, err
}

func parseStatus(status []byte) (usage, error) {
	var u usage
	into := map[string]*int64{
		"VmRSS": &u.Resident, "RssAnon": &u.Anonymous, "RssFile": &u.FileBacked, "VmHWM": &u.Peak,
		"Threads": &u.Threads,
	}
	for line := range strings.Lines(string(status)) {
		key, value, _ := strings.Cut(line, ":")
		field := into[key]
		if field == nil {
			continue
		}
		text, isKB := strings.CutSuffix(strings.TrimSpace(value), " kB")
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return usage{}, fmt.Errorf("%s in status: %w", key, err)
		}
		if *field = n; isKB {
			*field = n << 10
		}
	}
	if u.Resident == 0 {
		return usage{}, fmt.Errorf("no VmRSS in status (the process has ended?)")
	}
	return u, nil
}

// writtenToDisk returns the bytes that the process has caused to be written to a disk, in whole pages: 0 where its
// files are in memory.
func writtenToDisk(pid int) (int64, error) {
	n, err := newCounter(pid).io()
	return int64(n.DiskBytes), err
}

// systemCPU returns the busy time of all cores together, and the time that the
// hypervisor kept from them.
func systemCPU() (busy, stolen time.Duration, err error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0, err
	}
	return parseSystemCPU(b)
}

func parseSystemCPU(stat []byte) (busy, stolen time.Duration, err error) {
	line, _, _ := strings.Cut(string(stat), "\n")
	fields := strings.Fields(line) // cpu user nice system idle iowait irq softirq steal …
	if len(fields) < 9 || fields[0] != "cpu" {
		return 0, 0, fmt.Errorf("unexpected /proc/stat %q", line)
	}
	n := make([]time.Duration, 8)
	for i := range n {
		v, err := strconv.ParseInt(fields[i+1], 10, 64)
		if err != nil {
			return 0, 0, err
		}
		n[i] = time.Duration(v) * tick
	}
	return n[0] + n[1] + n[2] + n[5] + n[6], n[7], nil
}

// cpuModel names the machine for the report.
func cpuModel() string {
	b, _ := os.ReadFile("/proc/cpuinfo") // absent elsewhere: the report then says nothing
	for line := range strings.Lines(string(b)) {
		if key, value, _ := strings.Cut(line, ":"); strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
