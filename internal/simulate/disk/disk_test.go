package disk

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
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

// TestPowerCut: synced bytes of synced names stay. Of the others any part of the writes may be there.
func TestPowerCut(t *testing.T) {
	seen := map[string]bool{}
	names := map[string]int{}
	for seed := range uint64(400) {
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
		must(t, d.Rename(filepath.Join("q", "new"), filepath.Join("q", "renamed")))
		if seed%2 == 0 { // a kill before the power cut makes nothing durable
			d = d.Kill()
		}
		after := d.CutPower(rand.New(rand.NewPCG(seed, 0)))
		seen[content(t, after, filepath.Join("q", "x"))] = true
		found := ""
		for _, name := range []string{"new", "renamed"} {
			if _, err := after.Open(filepath.Join("q", name), false); err == nil {
				found += name
			}
		}
		names[found]++
		for _, e := range []string{"new", "renamed"} {
			if _, err := d.LoseUnsynced().Open(filepath.Join("q", e), false); !errors.Is(err, os.ErrNotExist) {
				t.Fatalf("%s was not synced, and is there: %v", e, err)
			}
		}
	}
	for _, want := range []string{"synced", "synced+", "synced+a", "synced+ab"} {
		if !seen[want] {
			t.Errorf("never %q", want)
		}
	}
	if delete(seen, "synced\x00\x00\x00"); len(seen) != 4 { // the length without the sector
		t.Errorf("contents %v", seen)
	}
	if len(names) != 3 || names[""] == 0 || names["new"] == 0 || names["renamed"] == 0 {
		t.Errorf("names %v, want none, the first or the second", names)
	}
}

// TestSectorsAreTorn: sectors of writes that were not synced reach the disk in any order.
func TestSectorsAreTorn(t *testing.T) {
	seen := map[string]int{}
	for seed := range uint64(400) {
		d := New()
		f := create(t, d, "x")
		_, err := f.WriteAt(bytes.Repeat([]byte("o"), 3*sector), 0)
		must(t, err)
		must(t, f.Sync())
		must(t, d.SyncDir("."))
		_, err = f.WriteAt(bytes.Repeat([]byte("n"), 3*sector), 0)
		must(t, err)
		after := content(t, d.CutPower(rand.New(rand.NewPCG(seed, 0))), "x")
		text := ""
		for at := 0; at < len(after); at += sector {
			switch part := after[at : at+sector]; part {
			case strings.Repeat("o", sector), strings.Repeat("n", sector):
				text += part[:1]
			default:
				text += "?"
			}
		}
		seen[text]++
	}
	for _, want := range []string{"ooo", "oon", "ono", "onn", "noo", "non", "nno", "nnn"} {
		if seen[want] == 0 {
			t.Errorf("never %q: %v", want, seen)
		}
	}
}

// TestDirectoriesThatAreRenamed: a file keeps its directory, whose new name lasts once it was synced.
func TestDirectoriesThatAreRenamed(t *testing.T) {
	d := New()
	must(t, d.Mkdir("a"))
	must(t, d.SyncDir("."))
	must(t, create(t, d, filepath.Join("a", "x")).Close())
	must(t, d.SyncDir("a"))
	must(t, d.Rename("a", "b"))
	if after := d.LoseUnsynced(); after.Names[filepath.Join("a", "x")] == nil || after.Dirs["b"] != nil {
		t.Error("the new name lasts before it was synced")
	}
	d = New()
	must(t, d.Mkdir("a"))
	must(t, create(t, d, filepath.Join("a", "x")).Close())
	must(t, d.SyncDir("a"))
	must(t, d.Rename("a", "b"))
	must(t, d.SyncDir("."))
	if after := d.LoseUnsynced(); after.Names[filepath.Join("b", "x")] == nil || after.Dirs["a"] != nil {
		t.Error("the new name does not last")
	}
}

// TestKilledAtACall: that call and all later ones fail. The beginning of a write may be there.
func TestKilledAtACall(t *testing.T) {
	seen := map[string]bool{}
	for seed := range uint64(100) {
		d := NewWithChance(rand.New(rand.NewPCG(seed, 0)))
		f := create(t, d, "x")
		ended := 0
		d.EndAt(End{Call: 2, With: ErrKilled, Ended: func() { ended++ }})
		_, err := f.Size()
		must(t, err)
		if _, err := f.WriteAt([]byte("ab"), 0); !errors.Is(err, ErrKilled) || ended != 1 {
			t.Fatalf("write at the kill: %v, %d calls of ended", err, ended)
		}
		if _, err := f.WriteAt([]byte("cd"), 2); !errors.Is(err, ErrKilled) || ended != 1 {
			t.Fatalf("write after the kill: %v, %d calls of ended", err, ended)
		}
		seen[content(t, d.Kill(), "x")] = true
	}
	if len(seen) != 3 || !seen[""] || !seen["a"] || !seen["ab"] {
		t.Errorf("contents %v", seen)
	}
}

func TestDamageAndLose(t *testing.T) {
	d, rnd := New(), rand.New(rand.NewPCG(1, 1))
	f := create(t, d, "x")
	_, err := f.WriteAt([]byte("abc"), 0)
	must(t, err)
	must(t, create(t, d, "empty").Close())
	all := func(string) bool { return true }
	if name := d.Damage(rnd, all); name != "x" || content(t, d, "x") == "abc" || d.Used() != 3 {
		t.Errorf("damaged %q: %q", name, content(t, d, "x"))
	}
	if name := d.Lose(rnd, func(name string) bool { return name == "x" }); name != "x" || d.Names["x"] != nil {
		t.Errorf("lost %q of %v", name, d.Names)
	}
	if name := d.Damage(rnd, all); name != "" {
		t.Errorf("damaged %q, which is empty", name)
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
	if delete(seen, "\x00\x00"); len(seen) != 3 || !seen[""] || !seen["a"] || !seen["ab"] { // a length without a sector
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
