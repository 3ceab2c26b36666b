package remotewrite

// protocol is the major version of remote write.
type protocol int32

const (
	v1 protocol = 1
	v2 protocol = 2
)

// String is the version as the specification writes it.
func (p protocol) String() string {
	if p == v1 {
		return "1.0"
	}
	return "2.0"
}

func (p protocol) other() protocol {
	if p == v1 {
		return v2
	}
	return v1
}
