package queue

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
)

// TestNumbersNeverRunOut: with any numbers in the names of files, the next start finds what this one accepted.
func TestNumbersNeverRunOut(t *testing.T) {
	for _, name := range []string{
		"00000001-0001-0000-7fffffff.seg", "00000001-0001-0000-80000000.seg", "00000001-0001-0000-fffffffe.seg",
		"00000001-0001-0000-ffffffff.seg", "7fffffff-0001-0000-00000001.seg", "7fffffff-0002-0000-00000001.seg",
		"80000000-0003-0000-ffffffff.seg", "ffffff00-0001-0000.pos",
	} {
		t.Run(name, func(t *testing.T) {
			fs := newFakeFS()
			fs.Names[join(join("data", queuePrefix+"x"), name)] = &fakeData{}
			cfg := quiet()
			cfg.segment = 1
			s := openStore(t, "data", fs)
			if strings.HasPrefix(name, "ffffff") {
				_, err := s.Open("x", 1, cfg)
				if text := fmt.Sprint(err); !strings.Contains(text, name) || !strings.Contains(text, "move the file") {
					t.Errorf("opened: %v", err)
				}
				return
			}
			var want []string
			for i := range 3 {
				q := openQueue(t, s, "x", 1, cfg)
				for j := range 3 {
					want = append(want, fmt.Sprint(i, j))
					sealed(t, q, 0, want[len(want)-1])
				}
				if loss := mustClose(t, q); loss != (Loss{}) {
					t.Errorf("Close = %+v", loss)
				}
			}
			if got := reopenIn(t, s, cfg); !slices.Equal(got, want) {
				t.Errorf("delivered %q, want %q", got, want)
			}
			mustClose(t, openQueue(t, s, "x", 1, cfg))
			if left := segments(fs); len(left) != 0 {
				t.Errorf("left: %q", left)
			}
		})
	}
}

// TestNamesThatAreTaken: links, directories and foreign files have the names of all files that a queue makes. They are
// left as they are, and nothing of the queue is lost.
func TestNamesThatAreTaken(t *testing.T) {
	const segment, position = "00000001-0001-0000-00000001.seg", "00000001-0001-0000.pos"
	names := []string{"q-x/" + segment, "q-x/" + position, "q-x/probe", "lock.pid"}
	precious := strings.Repeat("precious ", 20)
	for kind, put := range map[string]func(victim, name string) error{
		"link":           os.Symlink,
		"dangling link":  func(victim, name string) error { return os.Symlink(victim+"-2", name) },
		"directory":      func(_, name string) error { return os.Mkdir(name, 0o700) },
		"full directory": func(_, name string) error { return os.MkdirAll(filepath.Join(name, "sub"), 0o700) },
	} {
		for _, taken := range names {
			t.Run(kind+" "+filepath.Base(taken), func(t *testing.T) {
				if runtime.GOOS == "windows" && strings.Contains(kind, "link") {
					t.Skip("making links takes special rights")
				}
				if kind == "full directory" && !strings.HasPrefix(filepath.Base(taken), "0") {
					t.Skip("a directory where a temporary file belongs stops the start with an error")
				}
				dir, victim := t.TempDir(), filepath.Join(t.TempDir(), "victim")
				mustDo(t, os.WriteFile(victim, []byte(precious), 0o600))
				mustDo(t, os.MkdirAll(filepath.Join(dir, "q-x"), 0o700))
				mustDo(t, put(victim, filepath.Join(dir, taken)))
				s := openStore(t, dir, OS())
				var want []string
				for i := range 3 { // a position is read and written by the second start
					q := openQueue(t, s, "x", 1, quiet())
					want = append(want, fmt.Sprint(i, "a"), fmt.Sprint(i, "b"))
					sealed(t, q, 0, want[len(want)-2:]...)
					eventually(t, "it is written", func() bool { return q.Stats().WrittenRecords == 2 })
					if st := q.Stats(); st.DiskError != "" || st.WriteErrors != 0 {
						t.Errorf("stats: %+v", st)
					}
					if r, _ := nextState(q, 0); text(r) != want[0] {
						t.Errorf("Next = %q, want %q", text(r), want[0])
					}
					q.Ack(0)
					want = want[1:]
					if loss := mustClose(t, q); loss != (Loss{}) {
						t.Errorf("Close = %+v", loss)
					}
				}
				if got := reopenIn(t, s, quiet()); !slices.Equal(got, want) {
					t.Errorf("delivered %q, want %q", got, want)
				}
				if b, err := os.ReadFile(victim); err != nil || string(b) != precious {
					t.Errorf("the file behind the link is %q, %v", b, err)
				}
				if _, err := os.Lstat(victim + "-2"); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("a file was made behind the link: %v", err)
				}
				if strings.HasPrefix(filepath.Base(taken), "0") {
					if info, err := os.Lstat(filepath.Join(dir, taken)); err != nil || info.Mode().IsRegular() {
						t.Errorf("what had the name is gone: %v, %v", info, err)
					}
				}
			})
		}
	}
}

func mustDo(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestLockIsNoLink: a link with the name of the lock is not followed.
func TestLockIsNoLink(t *testing.T) {
	dir, victim := t.TempDir(), filepath.Join(t.TempDir(), "victim")
	if err := os.Symlink(victim, filepath.Join(dir, lockName)); err != nil {
		t.Skip(err)
	}
	_, err := OpenStore(dir, OS())
	if err == nil || !strings.Contains(err.Error(), "not a regular file") || strings.Contains(err.Error(), "in use") {
		t.Errorf("opened: %v", err)
	}
	if _, err := os.Lstat(victim); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file was made behind the link: %v", err)
	}
}

// TestNameTakenWhileRunning: something gets the name of the next segment while the queue runs.
func TestNameTakenWhileRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := newFakeFS()
		cfg := quiet()
		cfg.segment = 1
		q := openQueue(t, openStore(t, "data", fs), "x", 1, cfg)
		sealed(t, q, 0, "a")
		synctest.Wait()
		fs.Mu.Lock()
		taken := join(join("data", "q-x"), laneName{1, 1, 0}.segment(2))
		fs.Special[taken] = true
		foreign := join(join("data", "q-x"), laneName{1, 1, 0}.segment(3))
		fs.Names[foreign] = &fakeData{Content: []byte("mine")}
		fs.Mu.Unlock()
		sealed(t, q, 0, "b", "c")
		synctest.Wait()
		if s := q.Stats(); s.WrittenRecords != 3 || s.WriteErrors != 0 || s.DiskError != "" {
			t.Errorf("stats: %+v", s)
		}
		if !fs.Special[taken] || string(fs.Names[foreign].Content) != "mine" {
			t.Error("what had the names is gone")
		}
		delete(fs.Names, foreign)
		mustClose(t, q)
		got := reopen(t, fs.kill(), cfg)
		if !slices.Equal(got.requests, []string{"a", "b", "c"}) || got.lost != (Loss{}) {
			t.Errorf("delivered %q, reported %+v", got.requests, got.lost)
		}
	})
}

// TestCorruptFileIsNotWrittenThroughALink: damaged bytes are not copied through a link.
func TestCorruptFileIsNotWrittenThroughALink(t *testing.T) {
	dir, victim := t.TempDir(), filepath.Join(t.TempDir(), "victim")
	s := openStore(t, dir, OS())
	q := openQueue(t, s, "x", 1, quiet())
	sealed(t, q, 0, "one", "two")
	mustClose(t, q)
	name := filepath.Join(dir, "q-x", laneName{1, 1, 0}.segment(1))
	b, err := os.ReadFile(name)
	mustDo(t, err)
	b[headerSize] ^= 1 // the data of the first
	mustDo(t, os.WriteFile(name, b, 0o600))
	kept := strings.TrimSuffix(name, segmentSuffix) + "-00000000" + corruptSuffix
	if err := os.Symlink(victim, kept); err != nil {
		t.Skip(err)
	}
	if got := reopenIn(t, s, quiet()); !slices.Equal(got, []string{"two"}) {
		t.Errorf("delivered %q", got)
	}
	if _, err := os.Lstat(victim); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file was made behind the link: %v", err)
	}
	if info, err := os.Lstat(kept); err != nil || !info.Mode().IsRegular() || info.Size() != twoAt {
		t.Errorf("kept: %v, %v", info, err)
	}
}
