package runner

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of CPU times in /proc: 1/100 s on every Linux that Go runs on.
const tick = 10 * time.Millisecond

// processCPU is the CPU time that the process has used, all threads, user and system.
func processCPU(pid int) (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	return parseProcessCPU(b)
}

func parseProcessCPU(stat []byte) (time.Duration, error) {
	// The second field is the program's name in brackets, and may hold anything.
	end := bytes.LastIndexByte(stat, ')')
	if end < 0 {
		return 0, fmt.Errorf("unexpected stat %q", stat)
	}
	fields := strings.Fields(string(stat[end+1:])) // begins with field 3
	if len(fields) < 13 {
		return 0, fmt.Errorf("unexpected stat %q", stat)
	}
	var ticks time.Duration
	for _, f := range fields[11:13] { // utime, stime
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += time.Duration(n)
	}
	return ticks * tick, nil
}

// processMemory is the resident memory of the process, now and at most.
func processMemory(pid int) (resident, peak int64, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, err
	}
	return parseProcessMemory(b)
}

func parseProcessMemory(status []byte) (resident, peak int64, err error) {
	for line := range strings.Lines(string(status)) {
		key, value, _ := strings.Cut(line, ":")
		if key != "VmRSS" && key != "VmHWM" {
			continue
		}
		kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		if err != nil {
			return 0, 0, err
		}
		if key == "VmRSS" {
			resident = kb << 10
		} else {
			peak = kb << 10
		}
	}
	if resident == 0 {
		return 0, 0, fmt.Errorf("no VmRSS in status (the process has ended?)")
	}
	return resident, peak, nil
}

// systemCPU is what all cores together have been busy with, and what the
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
