// pass-fd: sends one line and one descriptor (SCM_RIGHTS) over an inherited unix socket.
//
//   pass-fd LINE      3 = the socket, 4 = the descriptor to pass
//
// Node cannot pass descriptors over a plain socket. The caller holds back its own writes to the
// socket until this process has ended, so the line arrives in one piece. The socket shares its
// O_NONBLOCK with the caller and is left as it is. The newline is added here.
// Exit status: 0 sent, 1 failed (reason on stderr), 2 wrong usage.
//
// Build: musl-gcc -static -Os
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SOCKET = 3, PASSED = 4, LINE_BYTES_MAX = 4096, WRITABLE_MS = 5000 };

static int failed(const char *what) {
  fprintf(stderr, "pass-fd: %s: %s\n", what, strerror(errno));
  return 1;
}

int main(int argc, char **argv) {
  char line[LINE_BYTES_MAX + 1];
  if (argc != 2 || strlen(argv[1]) > LINE_BYTES_MAX) {
    fprintf(stderr, "usage: pass-fd LINE   (at most %d bytes; 3 = socket, 4 = descriptor)\n", LINE_BYTES_MAX);
    return 2;
  }
  size_t length = strlen(argv[1]), sent = 0;
  memcpy(line, argv[1], length);
  line[length++] = '\n';

  union {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(sizeof(int))];
  } control = {0};
  while (sent < length) {
    struct iovec part = {line + sent, length - sent};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (sent == 0) { // the descriptor rides on the first byte
      message.msg_control = control.bytes;
      message.msg_controllen = sizeof control.bytes;
      struct cmsghdr *header = CMSG_FIRSTHDR(&message);
      header->cmsg_level = SOL_SOCKET;
      header->cmsg_type = SCM_RIGHTS;
      header->cmsg_len = CMSG_LEN(sizeof(int));
      int passed = PASSED;
      memcpy(CMSG_DATA(header), &passed, sizeof passed);
    }
    ssize_t n = sendmsg(SOCKET, &message, MSG_NOSIGNAL);
    if (n >= 0) sent += (size_t)n;
    else if (errno == EAGAIN) {
      struct pollfd writable = {SOCKET, POLLOUT, 0};
      int ready = poll(&writable, 1, WRITABLE_MS);
      if (ready == 0) {
        errno = ETIMEDOUT;
        return failed("socket does not become writable");
      }
      if (ready < 0 && errno != EINTR) return failed("poll");
    } else if (errno != EINTR) return failed("sendmsg");
  }
  return 0;
}
