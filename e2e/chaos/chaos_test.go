// Package chaos ends, starves and damages the running program and counts what that costs. `make chaos` runs it; the
// short form takes a few minutes, the long one (SHORT=0) more than a quarter of an hour.
package chaos

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/envoy-scraper/envoy-scraper/e2e/chaos/agent"
	"github.com/envoy-scraper/envoy-scraper/e2e/parts"
)

// TestMain keeps the scenarios out of a plain `go test ./...`: they take minutes and want the machine.
func TestMain(m *testing.M) {
	if os.Getenv("CHAOS") != "1" {
		fmt.Println("chaos: nothing was run; make chaos runs the scenarios")
		return
	}
	os.Exit(m.Run())
}

// A bench is what all scenarios share.
type suite struct {
	binary  string
	durable bool // the program knows --storage.path
	short   bool
}

// pick chooses between the short and the long form.
func pick[T any](s suite, short, long T) T {
	if s.short {
		return short
	}
	return long
}

func TestChaos(t *testing.T) {
	b := suite{binary: parts.Scraper(t), short: testing.Short()}
	b.durable = agent.Knows(t, b.binary, storageFlag)
	t.Logf("the program knows --%s: %v", storageFlag, b.durable)
	for _, s := range []struct {
		name    string
		durable bool // makes no sense without a durable queue
		run     func(*world)
	}{
		{"memory only loses an outage", false, memoryOnly},
		{"outage, kill", true, outageThenKill},
		{"long outage, kill", true, longOutageThenKill},
		{"outage, terminate", true, outageThenTerminate},
		{"terminate, receiver up", false, terminateWhileUp},
		{"first request hangs, terminate", true, terminateWhileHanging},
		{"kills", true, kills},
		{"429 with Retry-After", false, answers(rateLimited)},
		{"503 with Retry-After as a date", false, answers(unavailable)},
		{"black hole", false, answers(blackHole)},
		{"slow receiver", false, answers(slow)},
		{"slow receiver, lanes grow", false, growingLanes},
		{"backlog of 2.0, receiver of 1.0", true, otherProtocol(learned)},
		{"backlog of 2.0, configured for 1.0", true, otherProtocol(written)},
		{"401, then let in again", false, answers(lockedOut)},
		{"400", false, answers(refused)},
		{"one endpoint of two fails", false, twoEndpoints},
		{"big backlog", true, bigBacklog},
		{"outage with little memory", true, tightMemory},
		{"damaged files", true, damage},
		{"disk full, receiver up", true, diskFullWhileUp},
		{"disk full, receiver down", true, diskFullWhileDown},
		{"disk and memory full, receiver down", true, diskAndMemoryFull},
		{"queue full", true, queueFull},
		{"two processes, one directory", true, twoProcesses},
		{"directory not writable", true, notWritable},
	} {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			if s.durable && !b.durable {
				t.Fatalf("the program has no --%s: nothing survives it", storageFlag)
			}
			s.run(newWorld(t, b))
		})
	}
}

// pause waits, unless the test ends.
func pause(t *testing.T, d time.Duration) {
	t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.Context().Done():
	}
}
