package disk

import (
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/envoy-scraper/envoy-scraper/internal/queue/filesystem"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func create(t *testing.T, fs filesystem.FS, name string) filesystem.File {
	t.Helper()
	f, err := fs.Open(name, true)
	must(t, err)
	return f
}

func content(t *testing.T, fs filesystem.FS, name string) string {
	t.Helper()
	f, err := fs.Open(name, false)
	must(t, err)
	size, err := f.Size()
	must(t, err)
	b := make([]byte, size)
	if _, err := f.ReadAt(b, 0); err != nil && err != io.EOF {
		t.Fatal(err)
	}
	must(t, f.Close())
	return string(b)
}

// TestLikeTheMachine does the same on the disk and on the machine's file system, and compares the outcomes.
func TestLikeTheMachine(t *testing.T) {
	t.Chdir(t.TempDir())
	story := func(fs filesystem.FS) (outcomes []error) {
		note := func(err error) { outcomes = append(outcomes, err) }
		note(fs.Mkdir("a"))
		note(fs.Mkdir("a"))
		note(fs.Mkdir(filepath.Join("b", "c")))
		f, err := fs.Open(filepath.Join("a", "x"), true)
		note(err)
		_, err = f.WriteAt([]byte("hello"), 3)
		note(err)
		note(f.Truncate(6))
		note(f.Truncate(9))
		note(f.Sync())
		note(fs.SyncDir("a"))
		b := make([]byte, 20)
		n, err := f.ReadAt(b, 0)
		note(err)
		note(errors.New(string(b[:n])))
		_, err = f.ReadAt(b[:3], 3)
		note(err)
		_, err = fs.Open(filepath.Join("a", "x"), true)
		note(err)
		_, err = fs.Open(filepath.Join("a", "y"), false)
		note(err)
		note(fs.Rename(filepath.Join("a", "x"), filepath.Join("a", "y")))
		note(f.Close())
		note(f.Sync())
		entries, err := fs.ReadDir("a")
		note(err)
		for _, e := range entries {
			note(errors.New(e.Name))
		}
		note(fs.Remove(filepath.Join("a", "y")))
		note(fs.Remove(filepath.Join("a", "y")))
		_, err = fs.ReadDir("nowhere")
		note(err)
		return outcomes
	}
	got, want := story(New()), story(filesystem.OS())
	if len(got) != len(want) {
		t.Fatalf("%d outcomes, want %d", len(got), len(want))
	}
	for i := range want {
		same := errors.Is(got[i], want[i]) || got[i] != nil && want[i] != nil && got[i].Error() == want[i].Error()
		for _, kind := range []error{os.ErrExist, os.ErrNotExist, os.ErrClosed} {
			same = same || errors.Is(got[i], kind) && errors.Is(want[i], kind)
		}
		if !same {
			t.Errorf("step %d: %v, on the machine %v", i, got[i], want[i])
		}
	}
}

func TestKillKeepsWritesAndEndsLocks(t *testing.T) {
	d := New()
	f := create(t, d, "x")
	_, err := f.WriteAt([]byte("not synced"), 0)
	must(t, err)
	_, err = d.Lock("lock")
	must(t, err)
	if _, err := d.Lock("lock"); !errors.Is(err, filesystem.ErrLocked) {
		t.Errorf("second lock: %v", err)
	}
	after := d.Kill()
	if got := content(t, after, "x"); got != "not synced" {
		t.Errorf("content %q", got)
	}
	if _, err := after.Lock("lock"); err != nil {
		t.Errorf("the lock outlives its process: %v", err)
	}
	if _, err := f.WriteAt([]byte("more"), 0); !errors.Is(err, ErrKilled) {
		t.Errorf("the dead process writes: %v", err)
	}
	if got := content(t, after, "x"); got != "not synced" {
		t.Errorf("the dead process has changed the content: %q", got)
	}
}

// TestPowerCut: synced bytes of synced names stay; of the others any part of the writes may be there.
func TestPowerCut(t *testing.T) {
	seen := map[string]bool{}
	for seed := range uint64(200) {
		d := New()
		must(t, d.Mkdir("q"))
		must(t, d.SyncDir("."))
		f := create(t, d, filepath.Join("q", "x"))
		_, err := f.WriteAt([]byte("synced"), 0)
		must(t, err)
		must(t, f.Sync())
		must(t, d.SyncDir("q"))
		_, err = f.WriteAt([]byte("+ab"), 6)
		must(t, err)
		create(t, d, filepath.Join("q", "new"))
		after := d.CutPower(rand.New(rand.NewPCG(seed, 0)))
		if _, err := after.Open(filepath.Join("q", "new"), false); !errors.Is(err, os.ErrNotExist) {
			t.Fatalf("a name that was not synced is there: %v", err)
		}
		seen[content(t, after, filepath.Join("q", "x"))] = true
	}
	for _, want := range []string{"synced", "synced+", "synced+a", "synced+ab"} {
		if !seen[want] {
			t.Errorf("never %q", want)
		}
	}
	if len(seen) != 4 {
		t.Errorf("contents %v", seen)
	}
}

// TestPowerGoesAtACall: that call and all later ones fail; a write may be there in part.
func TestPowerGoesAtACall(t *testing.T) {
	seen := map[string]bool{}
	for seed := range uint64(100) {
		d := New()
		f := create(t, d, "x")
		must(t, d.SyncDir("."))
		d.CutAt(2)
		_, err := f.Size()
		must(t, err)
		if _, err := f.WriteAt([]byte("ab"), 0); !errors.Is(err, ErrPowerLost) {
			t.Fatalf("write at the cut: %v", err)
		}
		if _, err := f.WriteAt([]byte("cd"), 2); !errors.Is(err, ErrPowerLost) {
			t.Fatalf("write after the cut: %v", err)
		}
		seen[content(t, d.CutPower(rand.New(rand.NewPCG(seed, 0))), "x")] = true
	}
	if len(seen) != 3 || !seen[""] || !seen["a"] || !seen["ab"] {
		t.Errorf("contents %v", seen)
	}
}

func TestFaults(t *testing.T) {
	d := New()
	f := create(t, d, "x")
	d.Begin("bad", Fault{Calls: []string{"write"}, Err: syscall.EIO})
	if _, err := f.WriteAt([]byte("abc"), 0); !errors.Is(err, syscall.EIO) {
		t.Errorf("write: %v", err)
	}
	must(t, f.Sync())
	after := d.Kill()
	if f, err := after.Open("x", false); err != nil {
		t.Error(err)
	} else if _, err := f.WriteAt([]byte("abc"), 0); !errors.Is(err, syscall.EIO) {
		t.Errorf("write after the restart: %v", err)
	}
	after.End("bad")
	after.Begin("torn", Fault{Err: syscall.EIO, Calls: []string{"write", "sync"}, Torn: true, Chance: 0.5})
	f, err := after.Open("x", false)
	must(t, err)
	failed, parts := 0, map[int]bool{}
	for range 100 {
		n, err := f.WriteAt([]byte("abc"), 0)
		if err == nil {
			if n != 3 {
				t.Fatalf("wrote %d bytes without an error", n)
			}
			continue
		}
		if torn := (*tornError)(nil); errors.As(err, &torn) {
			t.Fatalf("the error is wrapped: %v", err)
		}
		failed++
		parts[n] = true
	}
	if failed < 30 || failed > 70 || len(parts) < 3 {
		t.Errorf("%d of 100 writes failed, parts %v", failed, parts)
	}
}

func TestFull(t *testing.T) {
	d := New()
	f := create(t, d, "x")
	d.SetCapacity(10)
	if n, err := f.WriteAt([]byte("0123456"), 0); n != 7 || err != nil {
		t.Errorf("wrote %d: %v", n, err)
	}
	if n, err := f.WriteAt([]byte("0123456"), 7); n != 3 || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("wrote %d: %v", n, err)
	}
	if n, err := f.WriteAt([]byte("abc"), 0); n != 3 || err != nil {
		t.Errorf("wrote %d over others: %v", n, err)
	}
	if err := f.Truncate(11); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("grew: %v", err)
	}
	if used := d.Used(); used != 10 {
		t.Errorf("%d bytes used", used)
	}
	must(t, f.Truncate(0))
	if n, err := f.WriteAt([]byte("0123456789"), 0); n != 10 || err != nil {
		t.Errorf("wrote %d: %v", n, err)
	}
}

func TestSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := New()
		f := create(t, d, "x")
		d.Begin("slow", Fault{Calls: []string{"sync"}, Delay: time.Second})
		began := time.Now()
		_, err := f.WriteAt([]byte("x"), 0)
		must(t, err)
		if took := time.Since(began); took != 0 {
			t.Errorf("a write took %v", took)
		}
		must(t, f.Sync())
		if took := time.Since(began).Truncate(time.Microsecond); took != time.Second {
			t.Errorf("a sync took %v", took)
		}
	})
}
