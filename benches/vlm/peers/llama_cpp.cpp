// llama.cpp's figures of a model of make.py: llama_cpp TEXT.gguf MMPROJ.gguf PICTURE THREADS RUNS GPU_LAYERS. Prints a JSON object a line.

#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "llama.h"
#include "mtmd-helper.h"
#include "mtmd.h"

static const int TEXT = 17, NEW = 16;

static double wall_ms() {
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

static double cpu_ms() {
    rusage used;
    getrusage(RUSAGE_SELF, &used);
    return 1e3 * (used.ru_utime.tv_sec + used.ru_stime.tv_sec) + 1e-3 * (used.ru_utime.tv_usec + used.ru_stime.tv_usec);
}

static void check(bool right, const char * what) {
    if (!right) {
        fprintf(stderr, "%s failed\n", what);
        exit(1);
    }
}

// Median wall time and mean CPU time of all threads, after one run that does not count.
static void measured(const char * what, int runs, const std::function<void()> & run, const std::function<void()> & before = [] {}, int of = 1) {
    before();
    run();
    std::vector<double> wall;
    double cpu = 0;
    for (int i = 0; i < runs; i++) {
        before();
        double start = wall_ms(), used = cpu_ms();
        run();
        wall.push_back((wall_ms() - start) / of);
        cpu += (cpu_ms() - used) / of;
    }
    std::sort(wall.begin(), wall.end());
    printf("{\"what\": \"%s\", \"median_ms\": %.3f, \"cpu_ms\": %.3f}\n", what, wall[runs / 2], cpu / runs);
    fflush(stdout);
}

int main(int count, char ** given) {
    check(count == 7, "llama_cpp TEXT.gguf MMPROJ.gguf PICTURE THREADS RUNS GPU_LAYERS: reading the arguments");
    const int threads = atoi(given[4]), runs = atoi(given[5]), gpu_layers = atoi(given[6]);
    auto warnings = [](ggml_log_level level, const char * text, void *) {
        if (level >= GGML_LOG_LEVEL_ERROR) fputs(text, stderr);
    };
    llama_log_set(warnings, nullptr);
    mtmd_helper_log_set(warnings, nullptr);
    ggml_backend_load_all();
    llama_model_params model_params = llama_model_default_params();
    model_params.n_gpu_layers = gpu_layers;
    llama_model * model = llama_model_load_from_file(given[1], model_params);
    check(model, "loading the text model");
    llama_context_params context_params = llama_context_default_params();
    context_params.n_ctx = 2048;
    context_params.n_threads = context_params.n_threads_batch = threads;
    llama_context * context = llama_init_from_model(model, context_params);
    mtmd_context_params picture_params = mtmd_context_params_default();
    picture_params.use_gpu = gpu_layers > 0;
    picture_params.n_threads = threads;
    picture_params.print_timings = false;
    mtmd_context * pictures = mtmd_init_from_file(given[2], model, picture_params);
    check(context && pictures, "loading the image encoder");
    const int vocabulary = llama_vocab_n_tokens(llama_model_get_vocab(model));

    // the last chunk of a picture is its overview: the only tile that is used
    mtmd_input_chunks * chunks = mtmd_input_chunks_init();
    const mtmd_input_chunk * tile = nullptr;
    auto read_picture = [&] {
        mtmd_input_chunks_free(chunks);
        chunks = mtmd_input_chunks_init();
        auto read = mtmd_helper_bitmap_init_from_file(pictures, given[3], false, mtmd_helper_init_opt_default());
        check(read.bitmap, "reading the picture");
        const mtmd_bitmap * bitmap = read.bitmap;
        std::string text = mtmd_default_marker();
        mtmd_input_text input{text.c_str(), text.size(), false, true};
        check(!mtmd_tokenize(pictures, chunks, &input, &bitmap, 1), "preparing the picture");
        mtmd_bitmap_free(read.bitmap);
        for (size_t i = 0; i < mtmd_input_chunks_size(chunks); i++) {
            auto * chunk = mtmd_input_chunks_get(chunks, i);
            if (mtmd_input_chunk_get_type(chunk) == MTMD_INPUT_CHUNK_TYPE_IMAGE) tile = chunk;
        }
        check(tile, "finding the picture's tile");
    };
    llama_token token = 0;
    auto pick = [&] {
        const float * logits = llama_get_logits_ith(context, -1);
        token = std::max_element(logits, logits + vocabulary) - logits;
    };
    std::vector<llama_token> text(TEXT);
    for (int i = 0; i < TEXT; i++) text[i] = 100 + i * 7 % 1000;
    auto first = [&] {
        read_picture();
        llama_memory_clear(llama_get_memory(context), true);
        llama_pos past = 0;
        check(!mtmd_helper_eval_chunk_single(pictures, context, tile, 0, 0, 512, false, &past), "encoding the picture");
        check(!llama_decode(context, llama_batch_get_one(text.data(), TEXT)), "decoding the prompt");
        pick();
    };
    read_picture();
    const int places = mtmd_input_chunk_get_n_tokens(tile);
    std::vector<llama_token> prompt(places + TEXT);
    for (size_t i = 0; i < prompt.size(); i++) prompt[i] = 100 + i * 7 % 1000;
    auto start = [&] {
        llama_memory_clear(llama_get_memory(context), true);
        check(!llama_decode(context, llama_batch_get_one(prompt.data(), prompt.size())), "decoding the prompt");
        pick();
    };
    auto further = [&] {
        for (int i = 0; i < NEW; i++) {
            check(!llama_decode(context, llama_batch_get_one(&token, 1)), "decoding a token");
            pick();
        }
    };
    measured("first token", runs, first);
    measured("tile", runs, [&] { check(!mtmd_encode_chunk(pictures, tile), "encoding the picture"); });
    measured(("prompt of " + std::to_string(prompt.size())).c_str(), runs, start);
    measured("further token", runs, further, start, NEW);
}
