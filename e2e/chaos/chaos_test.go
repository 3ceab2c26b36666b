// Package chaos kills, stops and starves the real envoy-scraper binary, damages its queue on disk and makes its
// receiver fail. Targets number their scrapes and the receiver records what arrives, so each scenario reports exactly
// which scrapes were lost, repeated or out of order. A request has one scrape of a target, or three where the name of a
// scenario says so, or as delay_test.go says. The scenarios prove the promises of docs/reliability.md, and their
// result rows are in docs/reliability-runs.md.
//
// `make chaos` runs all scenarios in their short form, which takes a few minutes. The long form (SHORT=0) takes more
// than a quarter of an hour. To run one scenario:
//
//	make chaos RUN=kills
package chaos

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/envoy-scraper/envoy-scraper/e2e/chaos/agent"
	"github.com/envoy-scraper/envoy-scraper/e2e/parts"
)

// TestMain skips the scenarios unless CHAOS=1: they take minutes and load the whole machine.
func TestMain(m *testing.M) {
	if os.Getenv("CHAOS") != "1" {
		fmt.Println("chaos: skipped; run the scenarios with make chaos")
		return
	}
	os.Exit(m.Run())
}

// A suite is what all scenarios share: the program under test and the form of the run.
type suite struct {
	binary  string
	durable bool // the program has --storage.path
	short   bool
}

// pick returns short in the short form and long in the long form.
func pick[T any](s suite, short, long T) T {
	if s.short {
		return short
	}
	return long
}

func TestChaos(t *testing.T) {
	b := suite{binary: parts.Scraper(t), short: testing.Short()}
	b.durable = agent.Knows(t, b.binary, storageFlag)
	t.Logf("the program has --%s: %v", storageFlag, b.durable)
	several := fmt.Sprintf("%d scrapes a request: ", columns(t))
	for _, s := range []struct {
		name    string
		durable bool // needs a durable queue
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
		{several + "outage, kill", true, delayed(outageThenKill)},
		{several + "outage, terminate", true, delayed(outageThenTerminate)},
		{several + "terminate, receiver up", true, delayed(terminateWhileUp)},
		{several + "kills", true, delayed(kills)},
		{several + "backlog of 2.0, receiver of 1.0", true, delayed(otherProtocol(learned))},
		{several + "400", true, delayed(answers(refused))},
		{several + "disk full, receiver up", true, delayed(diskFullWhileUp)},
		{several + "disk and memory full, receiver down", true, delayed(diskAndMemoryFull)},
		{several + "queue full", true, delayed(queueFull)},
		{several + "damaged files", true, delayed(damage)},
		{"kill while scrapes wait", true, killWhileWaiting},
		{"catch up in groups", true, delayed(catchUp)},
		{"reloads from 1 scrape a request to 3 and back", true, changedDelay},
		{"two endpoints with different delays", true, twoDelays},
	} {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			if s.durable && !b.durable {
				t.Fatalf("the program has no --%s, so nothing survives a kill", storageFlag)
			}
			s.run(newWorld(t, b))
		})
	}
}

// pause waits for d, or until the test ends.
func pause(t *testing.T, d time.Duration) {
	t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.Context().Done():
	}
}
