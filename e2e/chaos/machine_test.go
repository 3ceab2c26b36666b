package chaos

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// syncTime returns how long the disk takes to sync the small files of a stop: a segment and a positions file per lane,
// one after the other.
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
