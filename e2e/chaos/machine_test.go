package chaos

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// lateness begins to measure by how much this machine is late with what is due. The function that it returns ends that
// and tells the sum: what a busy machine may take longer than an idle one for the same.
func lateness() (total func() time.Duration) {
	const step = 10 * time.Millisecond
	var sum time.Duration
	stop := make(chan struct{})
	var measuring sync.WaitGroup
	measuring.Go(func() {
		tick := time.NewTimer(step)
		for begin := time.Now(); ; begin = time.Now() {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			sum += max(0, time.Since(begin)-2*step)
			tick.Reset(step)
		}
	})
	return func() time.Duration {
		close(stop)
		measuring.Wait()
		return sum
	}
}

// syncTime is how long the disk takes for a small file: a stop makes some of them durable, one after the other.
func syncTime(t *testing.T, dir string) time.Duration {
	t.Helper()
	const files = 2 * lanes // segments and positions
	f, err := os.Create(filepath.Join(dir, "sync"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	begin := time.Now()
	if _, err := f.Write(make([]byte, 4<<10)); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	return files * time.Since(begin)
}
