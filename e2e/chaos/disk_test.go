package chaos

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/envoy-scraper/envoy-scraper/e2e/chaos/oracle"
	"github.com/envoy-scraper/envoy-scraper/e2e/parts"
)

// mount mounts a small file system at dir. If that is not allowed, it skips the scenario with a line that begins with
// SKIPPED.
func mount(t *testing.T, dir, options string) {
	t.Helper()
	if runtime.GOOS != "linux" || os.Geteuid() != 0 {
		t.Skip("SKIPPED: a full disk needs a small file system, which only root on Linux may mount here")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "mount", "-t", "tmpfs", "-o", options, "tmpfs", dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("SKIPPED: a full disk needs a small file system: mount: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount %s: %v: %s", dir, err, out)
		}
	})
}

// fill writes a file until the file system has only leave bytes left.
func fill(t *testing.T, path string, leave int64) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 4<<10)
	size := int64(0)
	for {
		n, err := f.Write(block)
		size += int64(n)
		if errors.Is(err, syscall.ENOSPC) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Truncate(max(0, size-leave)); err != nil {
		t.Fatal(err)
	}
}

// onSmallDisk mounts a small file system for the queue and starts the agent. It returns the path of the file that fills
// it.
func onSmallDisk(w *world) (filler string) {
	mount(w.T, w.storage, "size=6m,mode=0700")
	w.start()
	w.warm()
	return filepath.Join(w.storage, "filler")
}

// diskFullWhileUp fills the disk while the agent delivers, then frees it. After that the queue must survive a kill
// again.
func diskFullWhileUp(w *world) {
	filler := onSmallDisk(w)
	fill(w.T, filler, 0)
	w.pause(pick(w.suite, 8*time.Second, 30*time.Second))
	w.until("writes to the disk fail", func() bool {
		return w.metrics().Sum("envoy_scraper_queue_write_errors_total") > 0
	})
	evidence := w.diskMetrics()
	remove(w.T, filler)
	w.pause(5 * time.Second)
	w.until("writes to the disk succeed", func() bool {
		return w.metrics().Sum("envoy_scraper_queue_disk_failing") == 0
	})
	w.set(oracle.Refuse()) // from here on samples survive only in the queue
	w.pause(5 * time.Second)
	w.kill()
	w.start()
	w.set(oracle.Up())
	w.pause(3 * time.Second)
	w.drain(20 * time.Second)
	v := w.verdict(allowance{repeats: inFlight})
	w.result(v, evidence+"; a kill after space had returned")
}

// diskFullWhileDown fills the disk during an outage. Then the disk is freed, and then the receiver returns.
func diskFullWhileDown(w *world) {
	filler := onSmallDisk(w)
	w.set(oracle.Refuse())
	fill(w.T, filler, 128<<10)
	w.pause(pick(w.suite, 15*time.Second, 45*time.Second))
	evidence := w.diskMetrics()
	remove(w.T, filler)
	w.pause(3 * time.Second)
	w.set(oracle.Up())
	w.pause(3 * time.Second)
	w.drain(30 * time.Second)
	v := w.verdict(allowance{ended: w.fleet.Served(), repeats: inFlight}) // every dropped sample is counted
	w.result(v, evidence)
}

// diskAndMemoryFull fills the disk during an outage, with little memory. The oldest samples are dropped and counted,
// the rest arrives.
func diskAndMemoryFull(w *world) {
	const memory, scrape = 1 << 20, 4000 // bytes in memory; bytes per scrape at most
	w.extension = "  queue:\n    max_memory: 1MiB\n"
	w.more = sameLabels // no scrape is a column, of which memory has room for thousands
	w.fleet = parts.Fleet(w.T, w.addresses, 50, 8*targets, series)
	filler := onSmallDisk(w)
	w.set(oracle.Refuse())
	fill(w.T, filler, 64<<10)
	outage := pick(w.suite, 20*time.Second, 60*time.Second)
	w.pause(outage)
	w.until("something is lost", w.hasDropped)
	evidence := w.diskMetrics()
	remove(w.T, filler)
	w.set(oracle.Up())
	w.pause(3 * time.Second)
	w.drain(10 * time.Second)
	v := w.verdict(allowance{ended: w.fleet.Served(), repeats: inFlight})
	if most := v.Served - memory/scrape; v.Ended() == 0 || v.Ended() > most {
		w.Errorf("%d of %d scrapes lost: want some, but at most %d, because the others fit in memory", v.Ended(),
			v.Served, most)
	}
	w.result(v, evidence)
}

// queueFull makes the backlog of an outage larger than max_bytes.
func queueFull(w *world) {
	const limit, segment = 256 << 10, 64<<10 + 48<<10 // a segment ends with the request that crosses its size
	// What a lane has in flight is not dropped, and may begin in one segment and end in the next.
	const most = int64(limit + segment + lanes*segment)
	w.extension = "  queue:\n    max_bytes: 256KiB\n"
	w.fleet = parts.Fleet(w.T, w.addresses, 50, 6*targets, series)
	w.start()
	w.warm()
	w.set(oracle.Refuse())
	largest := int64(0)
	for begin := time.Now(); time.Since(begin) < pick(w.suite, 15*time.Second, 60*time.Second); {
		w.pause(200 * time.Millisecond)
		largest = max(largest, w.queueBytes())
	}
	w.until("something is lost", w.hasDropped)
	w.set(oracle.Up())
	w.pause(3 * time.Second)
	w.drain(10 * time.Second)
	v := w.verdict(allowance{ended: w.fleet.Served(), repeats: inFlight})
	if v.Ended() == 0 {
		w.Error("nothing was lost, so the queue was never full")
	}
	if largest > most {
		w.Errorf("the queue had %d bytes on disk, want at most %d", largest, most)
	}
	w.result(v, fmt.Sprintf("at most %d bytes on disk, %d allowed", largest, limit))
}

// hasDropped reports whether the agent counts samples as dropped.
func (w *world) hasDropped() bool { return w.metrics().Sum(dropped) > 0 }

// queueBytes returns the size of all segments.
func (w *world) queueBytes() int64 {
	w.Helper()
	sum := int64(0)
	for _, path := range segments(w.T, w.storage) {
		if info, err := os.Stat(path); err == nil { // on error the segment was just deleted
			sum += info.Size()
		}
	}
	return sum
}

// diskMetrics returns the agent's non-zero metrics about the disk. It fails the test if there are none.
func (w *world) diskMetrics() string {
	w.Helper()
	m := w.metrics()
	var evidence []string
	for _, word := range []string{"disk", "write_error", "queue_error", "storage"} {
		for name, sum := range m.Matching(word) {
			evidence = append(evidence, fmt.Sprintf("%s %v", name, sum))
		}
	}
	if len(evidence) == 0 {
		w.Error("no metric reports that the disk is full")
	}
	return strings.Join(evidence, ", ")
}

var pid = regexp.MustCompile(`(?:pid|process)\D{1,4}(\d+)`)

// twoProcesses starts a second agent on the storage directory of the first. The second must exit with an error that
// names the directory and the first process.
func twoProcesses(w *world) {
	w.start()
	second := w.startOnly()
	select {
	case <-second.Process.Done():
	case <-time.After(patience):
		w.Fatal("the second process kept running on the directory of the first")
	}
	log := second.Process.Log()
	if code := second.Process.Stop(0); code <= 0 {
		w.Errorf("exit code %d, want more than 0", code)
	}
	if !strings.Contains(log, w.storage) {
		w.Errorf("the message does not name %s:\n%s", w.storage, log)
	}
	owner := pid.FindStringSubmatch(log)
	if owner == nil {
		w.Fatalf("the message does not name the process that uses the directory:\n%s", log)
	}
	if command, err := os.ReadFile("/proc/" + owner[1] + "/cmdline"); err == nil &&
		!strings.Contains(string(command), "agent-1.yml") {
		w.Errorf("pid %s is %q, not the first process", owner[1], command)
	}
	w.pause(5 * time.Second) // the first process keeps running
	w.drain(10 * time.Second)
	v := w.verdict(allowance{})
	w.result(v, "the second ended, naming directory and pid")
}

// notWritable starts an agent that may not write to its directory. It must exit before the first scrape.
func notWritable(w *world) {
	if os.Geteuid() == 0 {
		mount(w.T, w.storage, "size=1m,ro")
	} else if err := os.Mkdir(w.storage, 0o500); err != nil {
		w.Fatal(err)
	}
	a := w.startOnly()
	select {
	case <-a.Process.Done():
	case <-time.After(patience):
		w.Fatal("the process kept running, but its directory is not writable")
	}
	if code := a.Process.Stop(0); code <= 0 {
		w.Errorf("exit code %d, want more than 0", code)
	}
	if log := a.Process.Log(); !strings.Contains(log, w.storage) {
		w.Errorf("the message does not name %s:\n%s", w.storage, log)
	}
	if n := w.fleet.Served(); n > 0 {
		w.Errorf("%d scrapes before it ended", n)
	}
	w.result(w.judge(), "ended before the first scrape")
}
