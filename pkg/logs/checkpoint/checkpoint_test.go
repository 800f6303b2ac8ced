package checkpoint

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func sample(n int64) *State {
	return &State{
		Files: []File{
			{ID: "0011223344556677", Dir: "/l/a_b_c/d", Name: "0.log", Dev: 1, Ino: 2, Safe: [2]int64{n, n + 1}, Size: 9},
			{ID: "8899aabbccddeeff", Dir: "/l/a_b_c/d", Name: "0.log.1.gz", Gen: 1, Path: "d/0.log"},
		},
		Containers: []Container{{Dir: "/l/a_b_c/d", Meta: json.RawMessage(`{"image":"x"}`)}},
	}
}

func TestRoundTrip(t *testing.T) {
	data, err := Encode(nil, sample(3))
	if err != nil {
		t.Fatal(err)
	}
	got, err := Decode(data)
	if err != nil || !reflect.DeepEqual(got, sample(3)) {
		t.Fatalf("got %+v, %v", got, err)
	}
}

// Whatever one byte is changed to, and wherever the file is cut, damage is
// noticed, and an entry that is returned is as it was written.
func TestDamageIsNoticed(t *testing.T) {
	data, _ := Encode(nil, sample(3))
	whole := sample(3)
	check := func(what string, i int, in []byte) {
		got, err := Decode(in)
		if !errors.Is(err, ErrDamaged) {
			t.Errorf("%s %d: error %v", what, i, err)
		}
		for _, f := range got.Files {
			if f != whole.Files[0] && f != whole.Files[1] {
				t.Errorf("%s %d: %+v was never written", what, i, f)
			}
		}
	}
	for i := range data {
		bad := bytes.Clone(data)
		bad[i] ^= 0x01
		check("flip", i, bad)
		check("cut", i, data[:i])
	}
}

func TestStore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "logs", "checkpoint")
	now := time.Unix(0, 0)
	open := func() *Store {
		s, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := open()
	if got, err := s.Load(now); err != nil || len(got.Files) != 0 {
		t.Fatalf("no checkpoint: %+v, %v", got, err)
	}
	for n := range int64(3) {
		if err := s.Save(sample(n)); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := open().Load(now); err != nil || !reflect.DeepEqual(got, sample(2)) {
		t.Fatalf("got %+v, %v", got, err)
	}

	// One entry of the present checkpoint is damaged: it comes from the one
	// before, the others are the newest.
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	i := bytes.Index(data, []byte(`"id":"00112233`))
	data[i+7] = 'x'
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := open().Load(now)
	if !errors.Is(err, ErrDamaged) || len(got.Files) != 2 {
		t.Fatalf("got %+v, %v", got, err)
	}
	for _, f := range got.Files {
		if f.ID == "0011223344556677" && f.Safe != [2]int64{1, 2} {
			t.Errorf("%+v is not the entry of the checkpoint before", f)
		}
	}
	if aside, _ := filepath.Glob(path + ".damaged-*"); len(aside) != 1 {
		t.Errorf("set aside: %v", aside)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("the damaged checkpoint is still in place")
	}
	// Now only the one before is there.
	if got, err := open().Load(now); !errors.Is(err, ErrDamaged) || !reflect.DeepEqual(got, sample(1)) {
		t.Errorf("got %+v, %v", got, err)
	}
}

// A failed write leaves the last checkpoint and no litter.
func TestSaveFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "checkpoint")
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Save(sample(1)); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path+".new", 0o700); err != nil { // in the temporary file's way
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".new/x", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Save(sample(2)); err == nil || !strings.Contains(err.Error(), "write checkpoint") {
		t.Fatalf("error %v", err)
	}
	if got, err := s.Load(time.Now()); err != nil || !reflect.DeepEqual(got, sample(1)) {
		t.Errorf("got %+v, %v", got, err)
	}
}

// A checkpoint is durable before it takes its name, and its name is when Save
// returns; a sync that fails leaves the one before.
func TestSaveSyncs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "checkpoint")
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Save(sample(1)); err != nil {
		t.Fatal(err)
	}
	want := map[int64][]byte{}
	for n := range int64(4) {
		want[n], _ = Encode(nil, sample(n))
	}
	is := func(path string, n int64) bool {
		data, err := os.ReadFile(path)
		return err == nil && bytes.Equal(data, want[n])
	}
	var synced []string
	s.sync = func(f *os.File) error {
		synced = append(synced, f.Name())
		switch len(synced) {
		case 1:
			if !is(f.Name(), 2) || !is(path, 1) {
				t.Error("the new checkpoint is not whole when it is synced, or has its name before")
			}
		case 2:
			if !is(path, 2) || !is(path+".previous", 1) {
				t.Error("the directory is synced before the names are in it")
			}
		}
		return f.Sync()
	}
	if err := s.Save(sample(2)); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(synced, []string{path + ".new", filepath.Dir(path)}) {
		t.Errorf("synced %q, want the file and then its directory", synced)
	}
	s.sync = func(*os.File) error { return os.ErrDeadlineExceeded }
	if err := s.Save(sample(3)); !errors.Is(err, os.ErrDeadlineExceeded) || !is(path, 2) {
		t.Errorf("a sync that fails: %v, the checkpoint is the one before: %t", err, is(path, 2))
	}
}

// What cannot be read at all is set aside like what is damaged: the agent must
// start.
func TestUnreadable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "checkpoint")
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	for n := range int64(2) {
		if err := s.Save(sample(n)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o700)); err != nil {
		t.Fatal(err)
	}
	got, err := s.Load(time.Unix(0, 0))
	if !errors.Is(err, ErrDamaged) || !reflect.DeepEqual(got, sample(0)) {
		t.Errorf("got %+v, %v, want the checkpoint before", got, err)
	}
	if err := s.Save(sample(2)); err != nil {
		t.Error(err)
	}
}

func FuzzDecode(f *testing.F) {
	data, _ := Encode(nil, sample(3))
	f.Add(data)
	f.Add([]byte(header + "end 0\n"))
	f.Add([]byte(header + "00000000 {}\nend 1\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		s, err := Decode(in)
		if s == nil {
			t.Fatal("no state")
		}
		if err != nil {
			return
		}
		out, err := Encode(nil, s)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Decode(out)
		if err != nil || len(again.Files) != len(s.Files) {
			t.Fatalf("does not read back: %v", err)
		}
	})
}
