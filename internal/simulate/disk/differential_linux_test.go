package disk

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/envoy-scraper/envoy-scraper/internal/queue/filesystem"
)

// player makes random calls on a file system, and notes what they return.
type player struct {
	fs    filesystem.FS
	rnd   *rand.Rand
	files []filesystem.File
	locks []io.Closer
	notes []string
}

// note notes a call, its result and its error.
func (p *player) note(err error, format string, args ...any) {
	p.notes = append(p.notes, fmt.Sprintf(format, args...)+": "+outcome(err))
}

// outcome returns what a caller can see of an error.
func outcome(err error) string {
	var errno syscall.Errno
	for _, known := range []error{filesystem.ErrNotRegular, filesystem.ErrLocked, os.ErrClosed, io.EOF} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &errno):
		return errno.Error()
	}
	return err.Error()
}

// name returns a random name. There are few, so that calls meet.
func (p *player) name() string {
	name := string("abc"[p.rnd.IntN(3)])
	for p.rnd.IntN(2) == 0 && len(name) < 5 {
		name = filepath.Join(name, string("xy"[p.rnd.IntN(2)]))
	}
	return name
}

// play makes one call.
func (p *player) play() {
	a, b := p.name(), p.name()
	switch n := p.rnd.IntN(20); n {
	case 0, 1, 2, 3:
		p.note(p.fs.Mkdir(a), "mkdir %s", a)
	case 4, 5, 6, 7:
		f, err := p.fs.Open(a, n < 7)
		p.note(err, "open %s, create %v", a, n < 7)
		if err == nil {
			p.files = append(p.files, f)
		} else if f != nil {
			p.notes = append(p.notes, "a file beside an error")
		}
	case 8, 9:
		p.note(p.fs.Remove(a), "remove %s", a)
	case 10, 11:
		p.note(p.fs.Rename(a, b), "rename %s to %s", a, b)
	case 12:
		p.note(p.fs.SyncDir(a), "sync directory %s", a)
	case 13:
		entries, err := p.fs.ReadDir(a)
		for i := range entries {
			if entries[i].Dir {
				entries[i].Size = 0 // a real directory has one
			}
		}
		p.note(err, "read directory %s %+v", a, entries)
	case 14:
		l, err := p.fs.Lock(a)
		p.note(err, "lock %s", a)
		if err == nil {
			p.locks = append(p.locks, l)
		}
	case 15:
		if len(p.locks) > 0 {
			i := p.rnd.IntN(len(p.locks))
			p.note(p.locks[i].Close(), "unlock %d", i)
			p.locks = slices.Delete(p.locks, i, i+1)
		}
	default:
		if len(p.files) > 0 {
			p.playFile(p.rnd.IntN(len(p.files)))
		}
	}
}

// playFile makes one call on an open file.
func (p *player) playFile(i int) {
	f, at, n := p.files[i], int64(p.rnd.IntN(40)), p.rnd.IntN(12)
	switch p.rnd.IntN(8) {
	case 0, 1, 2:
		done, err := f.WriteAt([]byte("0123456789ab")[:n], at)
		p.note(err, "write %d at %d of file %d: %d", n, at, i, done)
	case 3, 4:
		b := make([]byte, n)
		done, err := f.ReadAt(b, at)
		p.note(err, "read %d at %d of file %d: %q", n, at, i, b[:done])
	case 5:
		size, err := f.Size()
		p.note(err, "size of file %d: %d", i, size)
	case 6:
		p.note(f.Truncate(at), "truncate file %d to %d", i, at)
	case 7:
		if p.rnd.IntN(2) == 0 {
			p.note(f.Sync(), "sync file %d", i)
		} else {
			p.note(f.Close(), "close file %d", i)
		}
	}
}

// TestLikeTheMachine makes the same random calls on the disk and on the machine's file system. They have the same
// results and errors.
func TestLikeTheMachine(t *testing.T) {
	outcomes := map[string]int{}
	for seed := range uint64(100) {
		t.Chdir(t.TempDir())
		play := func(fs filesystem.FS) []string {
			p := &player{fs: fs, rnd: rand.New(rand.NewPCG(seed, 7))}
			for range 60 {
				p.play()
			}
			for _, f := range p.files {
				_ = f.Close()
			}
			for _, l := range p.locks {
				_ = l.Close()
			}
			return p.notes
		}
		want, got := play(filesystem.OS()), play(New())
		for i := range want {
			if i >= len(got) || got[i] != want[i] {
				t.Fatalf("seed %d: after\n\t%s\nthe disk says\n\t%s\nand the machine\n\t%s", seed,
					strings.Join(want[:i], "\n\t"), got[min(i, len(got)-1)], want[i])
			}
			call, _, _ := strings.Cut(want[i], " ")
			outcomes[call+want[i][strings.LastIndex(want[i], ": "):]]++
		}
	}
	for _, want := range []string{
		"remove: directory not empty", "rename: no such file or directory", "rename: invalid argument",
		"rename: file exists", "rename: not a directory", "rename: ok", "mkdir: not a directory",
		"lock: lock is taken", "close: file already closed", "read: EOF", "open: is not a regular file",
	} {
		if outcomes[want] == 0 {
			t.Errorf("never %q: %v", want, outcomes)
		}
	}
}
