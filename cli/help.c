/* help.c - help from the tables that also parse, so that it cannot go stale. */
#include "help.h"

#include <stdio.h>
#include <string.h>

#define COLUMNS 100
#define TEXT_COLUMN 32

/* Prints words from column `at` on, wrapped and indented to column `indent`, and a line feed. */
static void print_wrapped(const char *text, size_t at, size_t indent) {
    while (*text != '\0') {
        size_t length = strcspn(text, " ");
        if (at + length > COLUMNS && at > indent) {
            printf("\n%*s", (int)indent, "");
            at = indent;
        }
        printf("%.*s", (int)length, text);
        at += length;
        text += length;
        if (*text == ' ') {
            text++;
            at++;
            if (at + strcspn(text, " ") <= COLUMNS) putchar(' ');
        }
    }
    putchar('\n');
}

static void print_option(const option *o) {
    char label[80], letter[8] = "    ";
    if (o->letter != 0) (void)snprintf(letter, sizeof letter, "-%c, ", o->letter);
    (void)snprintf(label, sizeof label, "  %s--%s%s%s", letter, o->name, o->value != NULL ? " " : "",
                   o->value != NULL ? o->value : "");
    size_t length = strlen(label);
    fputs(label, stdout);
    if (length + 2 > TEXT_COLUMN) {
        putchar('\n');
        length = 0;
    }
    printf("%*s", (int)(TEXT_COLUMN - length), "");
    print_wrapped(o->help, TEXT_COLUMN, TEXT_COLUMN);
}

void help_command(const command *self, const option_group *groups, size_t n_groups) {
    printf("tomo %s: %s.\n\nusage: tomo %s %s%s[options]\n", self->name, self->purpose, self->name,
           self->operands, self->operands[0] != '\0' ? " " : "");
    if (self->notes != NULL) {
        putchar('\n');
        print_wrapped(self->notes, 0, 0);
    }
    for (size_t g = 0; g < n_groups; g++) {
        printf("\n%s\n", groups[g].title);
        for (size_t i = 0; i < groups[g].count; i++) print_option(&groups[g].options[i]);
    }
    printf("\nExample\n  %s\n\n%s\n", self->example, notice);
}

void help_all(const command *const *commands, size_t n) {
    puts("tomo reads a 3D CT or MR scan with a frozen 2D encoder, writes a report about it and answers "
         "questions.\n");
    puts("usage: tomo COMMAND ... [options]\n");
    for (size_t i = 0; i < n; i++) printf("  %-10s %s\n", commands[i]->name, commands[i]->purpose);
    puts("\nSCAN is a DICOM file, folder or zip, NIfTI (.nii, .nii.gz, .hdr with .img), NRRD or NPY.");
    puts("tomo COMMAND --help tells the options; tomo --version the version.");
    puts("Exit status: 0 done, 1 failed, 2 wrong usage, 3 input refused, 130 cancelled.\n");
    puts("Example\n  tomo report scan.nii.gz --model models/demo\n");
    puts(notice);
}
