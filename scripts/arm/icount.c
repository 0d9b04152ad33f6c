/* Counts the instructions that a program executes under qemu-user: all, by mnemonic and by function (plugin API 1).
 *
 *   gcc -O2 -shared -fPIC scripts/arm/icount.c -o libicount.so
 *   qemu-aarch64 -plugin ./libicount.so,detail=1 PROGRAM        one line a number on standard error
 *
 * Debian has no header of qemu's plugins: what is used of it is declared here. One thread only: counters are not atomic.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

struct block;
struct insn;
struct info;
extern size_t qemu_plugin_tb_n_insns(const struct block*);
extern struct insn* qemu_plugin_tb_get_insn(const struct block*, size_t);
extern const void* qemu_plugin_insn_data(const struct insn*);
extern char* qemu_plugin_insn_disas(const struct insn*);
extern const char* qemu_plugin_insn_symbol(const struct insn*);
extern void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t, void (*)(uint64_t, struct block*));
extern void qemu_plugin_register_vcpu_tb_exec_inline(struct block*, int, void*, uint64_t);
extern void qemu_plugin_register_vcpu_insn_exec_inline(struct insn*, int, void*, uint64_t);
extern void qemu_plugin_register_atexit_cb(uint64_t, void (*)(uint64_t, void*), void*);

EXPORT int qemu_plugin_version = 1;

struct entry {
  char* key;
  uint64_t count;
  struct entry* next;
};

enum { kBuckets = 1024, kAdd = 0 };
static uint64_t total;
static int detail;
static struct entry *ops[kBuckets], *functions[kBuckets];

static struct entry* find(struct entry** table, const char* key) {
  unsigned hash = 5381;
  for (const char* c = key; *c != 0; ++c) hash = hash * 33 + (unsigned char)*c;
  struct entry** at = &table[hash % kBuckets];
  for (struct entry* one = *at; one != NULL; one = one->next) {
    if (strcmp(one->key, key) == 0) return one;
  }
  struct entry* made = calloc(1, sizeof(*made));
  made->key = strdup(key);
  made->next = *at;
  return *at = made;
}

/* What qemu 7.2 cannot disassemble of 64-bit ARM: dot products and matrix products. */
static const char* unknown_to_qemu(uint32_t word) {
  if ((word & 0xbfe0fc00) == 0x0e809400 || (word & 0xbfc0f400) == 0x0f80e000) return "sdot";
  if ((word & 0xbfe0fc00) == 0x2e809400 || (word & 0xbfc0f400) == 0x2f80e000) return "udot";
  if ((word & 0xffe0fc00) == 0x4e80a400) return "smmla";
  return NULL;
}

static void name_of(const struct insn* insn, char* name, size_t most) {
  uint32_t word = 0;
  memcpy(&word, qemu_plugin_insn_data(insn), sizeof(word));
  const char* known = unknown_to_qemu(word);
  char* text = known != NULL ? NULL : qemu_plugin_insn_disas(insn);
  const char* from = known != NULL ? known : text != NULL ? text : "?";
  size_t i = 0;
  for (; i + 1 < most && from[i] != 0 && from[i] != ' ' && from[i] != '\t'; ++i) name[i] = from[i];
  name[i] = 0;
  free(text);
}

static void translate(uint64_t id, struct block* block) {
  (void)id;
  const size_t count = qemu_plugin_tb_n_insns(block);
  qemu_plugin_register_vcpu_tb_exec_inline(block, kAdd, &total, count);
  for (size_t i = 0; detail && i < count; ++i) {
    struct insn* insn = qemu_plugin_tb_get_insn(block, i);
    char name[32];
    name_of(insn, name, sizeof(name));
    const char* symbol = qemu_plugin_insn_symbol(insn);
    qemu_plugin_register_vcpu_insn_exec_inline(insn, kAdd, &find(ops, name)->count, 1);
    qemu_plugin_register_vcpu_insn_exec_inline(insn, kAdd, &find(functions, symbol == NULL ? "?" : symbol)->count, 1);
  }
}

static void print(const char* kind, struct entry** table) {
  for (int i = 0; i < kBuckets; ++i) {
    for (const struct entry* one = table[i]; one != NULL; one = one->next) {
      fprintf(stderr, "icount %s %s %" PRIu64 "\n", kind, one->key, one->count);
    }
  }
}

static void finish(uint64_t id, void* data) {
  (void)id;
  (void)data;
  fprintf(stderr, "icount total all %" PRIu64 "\n", total);
  print("op", ops);
  print("function", functions);
}

EXPORT int qemu_plugin_install(uint64_t id, const struct info* info, int argc, char** argv) {
  (void)info;
  for (int i = 0; i < argc; ++i) detail |= strcmp(argv[i], "detail=1") == 0 || strcmp(argv[i], "detail=on") == 0;
  qemu_plugin_register_vcpu_tb_trans_cb(id, translate);
  qemu_plugin_register_atexit_cb(id, finish, NULL);
  return 0;
}
