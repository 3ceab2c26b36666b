package main

import (
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/envoy-scraper/envoy-scraper/internal/queue"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"envoy-scraper": main})
}

// TestScripts runs testdata/script: commands that a user types, and their output.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("NODE_NAME", "") // of the machine that runs the test
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){"waiting": waiting, "inuse": inUse},
	})
}

// waiting is a command of the scripts: waiting DIR QUEUE SAMPLES leaves a queue in a storage directory, like a process
// that ended before it could deliver its samples.
func waiting(ts *testscript.TestScript, _ bool, args []string) {
	samples, err := strconv.Atoi(args[2])
	ts.Check(err)
	store, q := openQueue(ts, args[0], args[1])
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()
	_, err = q.Append(0, queue.Record{Data: make([]byte, 16), Samples: samples, Oldest: at, Newest: at, First: true})
	ts.Check(err)
	_, err = q.Close()
	ts.Check(err)
	ts.Check(store.Close())
}

// inUse is a command of the scripts: inuse DIR QUEUE keeps a queue open until the end of the script, like a running
// process.
func inUse(ts *testscript.TestScript, _ bool, args []string) {
	store, q := openQueue(ts, args[0], args[1])
	ts.Defer(func() {
		_, err := q.Close()
		ts.Check(err)
		ts.Check(store.Close())
	})
}

func openQueue(ts *testscript.TestScript, dir, identity string) (*queue.Store, *queue.FIFO) {
	store, err := queue.OpenStore(ts.MkAbs(dir), queue.OS())
	ts.Check(err)
	cfg := queue.DefaultConfig()
	cfg.MaxAge = 0 // nothing is too old
	q, err := store.Open(identity, 1, cfg)
	ts.Check(err)
	return store, q
}
