package queue

import (
	"math/rand/v2"
	"strings"

	simdisk "github.com/envoy-scraper/envoy-scraper/internal/simulate/disk"
)

// fakeFS is a file system in memory that makes calls fail, blocks them, and loses what was not synced.
type fakeFS struct{ *simdisk.Disk }

// fakeData is the content of a file.
type fakeData = simdisk.Data

func newFakeFS() *fakeFS { return &fakeFS{simdisk.New()} }

// kill returns the file system as another process finds it after this one was killed.
func (fs *fakeFS) kill() *fakeFS { return &fakeFS{fs.Kill()} }

// cutPower returns the file system as it is after a power cut.
func (fs *fakeFS) cutPower(rnd *rand.Rand) *fakeFS { return &fakeFS{fs.CutPower(rnd)} }

// waitsFor makes one kind of calls on files with a suffix wait until a channel is closed.
func waitsFor(until <-chan struct{}, call, suffix string) func(call, name string) <-chan struct{} {
	return func(c, name string) <-chan struct{} {
		if c == call && strings.HasSuffix(name, suffix) {
			return until
		}
		return nil
	}
}
