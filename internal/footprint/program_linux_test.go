package footprint

import (
	"slices"
	"strings"
	"testing"
)

const smaps = `00400000-00500000 r-xp 00000000 fe:00 1 /bin/program
Rss:                 100 kB
Anonymous:             0 kB
00500000-00600000 r--p 00100000 fe:00 1 /bin/program
Rss:                 100 kB
Anonymous:             4 kB
00600000-00700000 rw-p 00200000 fe:00 1 /bin/program
Anonymous:             0 kB
00700000-00800000 r--p 00100000 fe:00 1 /bin/program2
Anonymous:             0 kB
00800000-00900000 r--p 00100000 fe:00 1 /bin/program
Anonymous:             0 kB
7ffd0000-7ffe0000 r-xp 00000000 00:00 0 [vdso]
Anonymous:             0 kB
`

func TestOnlyWhatComesBackTheSame(t *testing.T) {
	got, err := untouched(strings.NewReader(smaps), "/bin/program")
	if want := []mapping{{0x400000, 0x500000}, {0x800000, 0x900000}}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %x, %v; want %x", got, err, want)
	}
	if _, err := untouched(strings.NewReader("nonsense\n"), "/bin/program"); err == nil {
		t.Error("no error for what is no smaps")
	}
}

// The test goes on after its own code was dropped.
func TestDropProgram(t *testing.T) {
	if err := dropProgram(); err != nil {
		t.Fatal(err)
	}
}
