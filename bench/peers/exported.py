# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime and OpenVINO: models exported from PyTorch, run with inputs and outputs bound in advance."""
import contextlib
import io
import logging
import os
import tempfile
import warnings

import numpy as np
import torch

from peers import models


@contextlib.contextmanager
def quiet():
    """Exporters talk a lot."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


def model_of(case, core):
    return models.Peer(case.module, core, case.with_map).eval()


def inputs_of(case):
    return (case.x,) if case.mask is None else (case.x, case.mask)


def output_shapes(case):
    """Without computing anything."""
    with torch.device("meta"):
        meta = models.copy.deepcopy(case.module).to("meta")
        y = models.Peer(meta, "dense", case.with_map)(*(t.to("meta") for t in inputs_of(case)))
    return [tuple(t.shape) for t in (y if case.with_map else (y,))]


def outputs_for(case):
    return [np.zeros(shape, np.float32) for shape in output_shapes(case)]


# ---------------------------------------------------------------- ONNX Runtime


def write_onnx(case, core, folder):
    path = os.path.join(folder, "model.onnx")
    with quiet(), torch.inference_mode(False), torch.no_grad():
        inputs = tuple(t.clone() for t in inputs_of(case))
        torch.onnx.export(model_of(case, core), inputs, dynamo=True, verbose=False).save(path)
    return path


def prepare_onnxruntime(case, core):
    import onnxruntime

    from peers.contenders import Ready

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = case.threads, 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    with tempfile.TemporaryDirectory() as folder:
        session = onnxruntime.InferenceSession(write_onnx(case, core, folder), options, providers=["CPUExecutionProvider"])
    binding, outputs, inputs = session.io_binding(), outputs_for(case), []
    for slot, tensor in zip(session.get_inputs(), inputs_of(case)):
        inputs.append(onnxruntime.OrtValue.ortvalue_from_numpy(tensor.contiguous().numpy()))
        binding.bind_ortvalue_input(slot.name, inputs[-1])
    for slot, out in zip(session.get_outputs(), outputs):
        binding.bind_output(slot.name, "cpu", 0, np.float32, out.shape, out.ctypes.data)
    # The wrapper around this only looks for fallbacks to other providers.
    run, bound = session._sess.run_with_iobinding, binding._iobinding
    return Ready(lambda: run(bound, None), lambda: outputs, keep=(session, binding, inputs, outputs))


# ---------------------------------------------------------------- OpenVINO


def openvino_settings(case):
    # Without the last one it computes in bfloat16 where the processor can.
    return {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": case.threads,
            "INFERENCE_PRECISION_HINT": "f32"}


def prepare_openvino(case, core):
    import openvino

    from peers.contenders import Ready

    inputs = inputs_of(case)
    with quiet(), torch.inference_mode(False), torch.no_grad():
        example = tuple(t.clone() for t in inputs)
        converted = openvino.convert_model(model_of(case, core), example_input=example,
                                           input=[tuple(t.shape) for t in example])
    compiled = openvino.Core().compile_model(converted, "CPU", openvino_settings(case))
    request, outputs = compiled.create_infer_request(), outputs_for(case)
    for index, tensor in enumerate(inputs):
        request.set_input_tensor(index, openvino.Tensor(tensor.contiguous().numpy(), shared_memory=True))
    for index, out in enumerate(outputs):
        request.set_output_tensor(index, openvino.Tensor(out, shared_memory=True))
    start, wait = request.start_async, request.wait

    def call():
        start()
        wait()

    return Ready(call, lambda: outputs, keep=(compiled, request, inputs, outputs))
